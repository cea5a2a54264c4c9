"""One image file of a dataset as import needs it: where it is, its digest and its size."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from shared.picosam.data.images import ImageProblem, decode_rgb, read_bytes, resolve_inside
from shared.picosam.data.rle import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image that was read and decoded to the end. ``file`` is relative to the root; ``shape`` is (height, width)."""

    file: str
    sha256: str
    shape: Shape


def read_picture(root: Path, file: str, expected: tuple[int | None, int | None] = (None, None)) -> Picture:
    """Reads ``file`` below ``root`` (resolved); ``ImageProblem`` if it is bad or not of the ``expected`` height and width."""
    content = read_bytes(resolve_inside(root, file))
    height, width, _ = decode_rgb(content, file).shape
    if any(given not in (None, found) for given, found in zip(expected, (height, width), strict=True)):
        turned = " (turned: EXIF rotation is ignored, as by COCO's tools)" if expected == (width, height) else ""
        detail = f"{file} is {width} x {height}, its row says {expected[1]} x {expected[0]}{turned}"
        raise ImageProblem("image_size_differs", detail)
    return Picture(file=file, sha256=hashlib.sha256(content).hexdigest(), shape=(height, width))
