"""Image files to RGB arrays, with limits. One decoder (Pillow) for import and preparing, so that what passed once passes again.

As COCO's tools do, EXIF rotation is ignored: annotations are drawn on the stored pixels.
"""

import io
import stat
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

MAX_BYTES: Final = 128 * 1024**2
"""Of one image file; the largest that phones and scanners write are half of it."""

MAX_PIXELS: Final = 64_000_000
"""Of one image: 192 MB decoded, so that two decoding threads stay below half a gigabyte."""

FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF")
"""Others stay closed: Pillow's rarer readers are where its security bugs are."""

_SIXTEEN_BIT: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")


class ImageProblem(Exception):
    """Why an image cannot be used; ``kind`` is the report's word for it."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def resolve_inside(root: Path, *parts: str) -> Path:
    """The regular file at ``parts`` below ``root`` (a resolved path); ``ImageProblem`` if it is elsewhere or not there.

    Links are followed and judged by where they end, so neither ``..`` nor a link leads out of the root.
    """
    relative = PurePosixPath(*parts)
    try:
        path = (root / relative).resolve()
        if relative.is_absolute() or ".." in relative.parts or not path.is_relative_to(root):
            raise ImageProblem("unsafe_path", f"{str(relative)!r} leaves the dataset's root; paths are relative to it")
        mode = path.stat().st_mode
    except (OSError, ValueError, RuntimeError) as exc:  # too long, a NUL inside, a loop of links
        raise ImageProblem("missing_image", f"{str(relative)!r}: no such file ({_reason(exc)})") from exc
    if not stat.S_ISREG(mode):
        raise ImageProblem("missing_image", f"{str(relative)!r} is not a regular file")
    return path


def read_bytes(path: Path) -> bytes:
    """The file's bytes; ``ImageProblem`` if it is too large or cannot be read."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ImageProblem("image_too_large", f"{path.name} has {size:,} bytes; at most {MAX_BYTES:,} are read")
        return path.read_bytes()
    except OSError as exc:
        raise ImageProblem("missing_image", f"{path.name}: {_reason(exc)}") from exc


def decode_rgb(content: bytes, name: str) -> NDArray[np.uint8]:
    """RGB uint8 [H, W, 3] of an encoded image; ``ImageProblem`` if it is damaged, cut off or too large.

    Grey becomes three equal channels, 16-bit grey keeps its upper 8 bits, CMYK and palettes are converted, and
    transparency is dropped (the colour under it stays).
    """
    return np.asarray(_opened(content, name, narrow=True).convert("RGB"))


def decode_labels(content: bytes, name: str) -> NDArray[np.int32]:
    """Integer labels [H, W] of a mask image: grey levels (8 or 16 bit) or palette indices. Colour masks are refused."""
    image = _opened(content, name, narrow=False)
    if image.mode not in ("1", "L", "P", *_SIXTEEN_BIT):
        raise ImageProblem("unreadable_mask", f"{name} is a {image.mode} image; a mask is grey, black and white or a palette")
    return np.asarray(image).astype(np.int32)


def _opened(content: bytes, name: str, *, narrow: bool) -> Image.Image:
    """A fully decoded image; ``narrow`` asks for 8 bits per channel."""
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise ImageProblem("image_too_large", f"{name} is {width} x {height}; at most {MAX_PIXELS:,} pixels are decoded")
        image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise ImageProblem("image_too_large", f"{name}: {exc}") from exc
    except UnidentifiedImageError as exc:
        raise ImageProblem("unreadable_image", f"{name} is none of {', '.join(FORMATS)}") from exc
    except Exception as exc:  # Pillow's readers raise what they happen to raise: OSError, SyntaxError, struct.error, ...
        if isinstance(exc, ImageProblem):
            raise
        raise ImageProblem("unreadable_image", f"{name} cannot be decoded: {_reason(exc)}") from exc
    return _eight_bit(image) if narrow and image.mode in _SIXTEEN_BIT else image


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit grey at 255 on conversion, which makes most of it white; the upper byte is meant."""
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def _reason(exc: BaseException) -> str:
    return str(getattr(exc, "strerror", None) or exc) or type(exc).__name__
