"""Windows that a camera saw and the masks that it made of them, for the quality gate."""

import base64
import binascii
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from PIL import Image
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera
from services.fleet.ddi import repository
from services.fleet.ddi.errors import SampleInvalid, SampleNotWanted, TooManySamples
from services.fleet.rollouts.models import Sample
from shared.contracts.cameras import SampleIn
from shared.kit.database import db_now

MOST_AT_ONCE: Final = 16
MOST_PER_HOUR: Final = 60
MAX_SIDE: Final = 256
"""Pixels."""

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pictures:
    """A sample's PNG files, both found to be what they should be."""

    window: bytes
    mask: bytes


def decoded(sample: SampleIn, number: int) -> Pictures:
    """The pictures of a sample, checked to the last pixel; ``number``: counted from 0, for the message. SampleInvalid."""
    window, size = _picture(sample.window, "RGB", f"sample {number}: window")
    mask, mask_size = _picture(sample.mask, "1", f"sample {number}: mask")
    if mask_size != size:
        raise SampleInvalid(f"sample {number}: the window is {size[0]}x{size[1]}, the mask {mask_size[0]}x{mask_size[1]}.")
    return Pictures(window, mask)


def store(session: Session, camera: Camera, samples: Sequence[SampleIn], pictures: Sequence[Pictures]) -> None:
    """Keep samples, each with the camera's newest action that brought it their package. TooManySamples, SampleNotWanted."""
    # One at a time per camera, lest two requests both be the last that fits.
    session.execute(select(Camera.id).where(Camera.id == camera.id).with_for_update())
    _check_rate(session, camera, len(samples), db_now(session))
    for sample, each in zip(samples, pictures, strict=True):
        action = repository.sampled_action(session, camera.id, sample.package)
        if action is None:
            raise SampleNotWanted(f"No action of this camera has brought it {sample.package!r}, or it did not stay.")
        session.add(
            Sample(
                camera_id=camera.id,
                package_id=action.package_id,
                rollout_id=action.rollout_id,
                phase=action.phase,
                window=each.window,
                mask=each.mask,
                confidence=sample.confidence,
            )
        )


def _check_rate(session: Session, camera: Camera, more: int, now: datetime) -> None:
    taken = repository.samples_since(session, camera.id, now - _HOUR)
    over = len(taken) + more - MOST_PER_HOUR
    if over > 0:
        # When as many have become older than an hour as are too many.
        wait = taken[min(over, len(taken)) - 1] + _HOUR - now
        raise TooManySamples(
            f"At most {MOST_PER_HOUR} samples of a camera are taken within an hour; {len(taken)} were.",
            retry_after_s=max(1, math.ceil(wait.total_seconds())),
        )


def _picture(text: str, mode: str, name: str) -> tuple[bytes, tuple[int, int]]:
    try:
        content = base64.b64decode(text, validate=True)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            if max(image.size) > MAX_SIDE or image.mode != mode:
                raise SampleInvalid(f"{name} is {image.mode} {image.size[0]}x{image.size[1]}, not {mode}, at most {MAX_SIDE}.")
            size = image.size
            image.verify()
        with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            image.load()  # verify() looks at checksums only
    except SampleInvalid:
        raise
    except (binascii.Error, ValueError, OSError, SyntaxError, EOFError, Image.DecompressionBombError) as exc:
        raise SampleInvalid(f"{name} is no PNG in base64, or it is cut.") from exc
    return content, size
