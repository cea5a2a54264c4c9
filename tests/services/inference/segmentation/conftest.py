"""Pictures, and asking for masks of them over HTTP."""

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco


def picture(width: int = 320, height: int = 240, seed: int = 0) -> Image.Image:
    """RGB noise with some structure, so that masks of random networks have shapes."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def file_of(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    """An image file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decoded(mask: dict[str, Any]) -> Any:
    """A mask's bits, whatever its form."""
    height, width = mask["size"]
    if mask["format"] == "png":
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(mask["png"]))))
    if mask["format"] == "rle":
        return coco.decode({"size": [height, width], "counts": mask["counts"]}).astype(bool)
    return np.frombuffer(base64.b64decode(mask["logits"]), "<f4").reshape(height, width) > 0


@pytest.fixture
def photo() -> bytes:
    return file_of(picture())


@pytest.fixture
def ask(client: httpx.Client, viewer: dict[str, str]) -> Callable[..., httpx.Response]:
    """Sends a form: ``ask(photo, prompts=[...])`` gives the answer."""

    def send(content: bytes, headers: dict[str, str] | None = None, **request: Any) -> httpx.Response:
        files = {"image": ("photo.jpg", content), "request": (None, json.dumps(request), "application/json")}
        return client.post("/v1/segment", files=files, headers=viewer | (headers or {}))

    return send
