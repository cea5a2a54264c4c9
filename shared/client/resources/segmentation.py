"""Promptable segmentation over REST."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shared.client.errors import Unusable
from shared.client.transport import Transport, parsed
from shared.contracts.segmentation import Prompt, SegmentIn, SegmentOut


def segment(transport: Transport, image: Path | bytes, prompts: Sequence[Prompt], **asked: Any) -> SegmentOut:
    """``POST /v1/segment`` as multipart, so that the image travels as it is. ``asked``: further fields of SegmentIn."""
    request = SegmentIn(prompts=list(prompts), **asked)
    files = {
        "request": (None, request.model_dump_json(exclude={"image"}).encode(), "application/json"),
        "image": ("image", _content(image), "application/octet-stream"),
    }
    return parsed(SegmentOut, transport.call("POST", "/v1/segment", files=files))


def _content(image: Path | bytes) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except OSError as exc:
        raise Unusable(f"{image} cannot be read: {exc.strerror}", hint="Name an existing file that you may read.") from exc
