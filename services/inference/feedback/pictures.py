"""Images and masks of corrections: what arrives, as it is kept."""

import binascii
import io
from base64 import b64decode
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from services.inference.feedback.errors import BadMask
from services.inference.segmentation.images import Photo
from shared.contracts.feedback import FeedbackMask
from shared.picosam.data import rle
from shared.picosam.data.manifest import Rle
from shared.picosam.prompt import Shape


@dataclass(frozen=True, slots=True)
class Kept:
    """An image file whose stored pixels are upright: datasets ignore EXIF's orientation."""

    content: bytes
    format: str
    shape: Shape


def upright(content: bytes, *, max_pixels: int) -> Kept:
    """The file itself, or where EXIF turns it the turned picture as PNG. BadImage, ImageTooLarge."""
    photo = Photo(content, max_pixels=max_pixels)
    photo.decode()
    if not photo.is_turned:
        return Kept(content, photo.format, photo.shape)
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(content)) as image:
        ImageOps.exif_transpose(image).convert("RGB").save(buffer, "PNG")
    return Kept(buffer.getvalue(), "PNG", photo.shape)


def read_mask(mask: FeedbackMask, shape: Shape) -> Rle:
    """Canonical run lengths of a mask of ``shape``. BadMask."""
    try:
        return _from_png(mask.png, shape) if mask.png is not None else rle.from_counts(mask.counts or "", shape, shape)
    except rle.MaskProblem as exc:
        raise BadMask(str(exc)) from exc


def _from_png(text: str, shape: Shape) -> Rle:
    try:
        with Image.open(io.BytesIO(b64decode(text, validate=True)), formats=("PNG",)) as image:
            if (image.height, image.width) != shape:
                raise BadMask(f"The mask has {image.width} x {image.height} pixels, the image {shape[1]} x {shape[0]}.")
            return rle.from_mask(np.asarray(image.convert("L")))
    except BadMask:
        raise
    except (binascii.Error, ValueError) as exc:
        raise BadMask(f"The mask is not base64: {exc}"[:300]) from exc
    except Exception as exc:  # Pillow's readers raise what they happen to raise
        raise BadMask(f"The mask is no PNG that can be decoded: {exc}"[:300]) from exc
