"""Image files to the windows that a network sees of them: limits first, upright, and decoded no finer than needed.

Colours as where data is prepared: grey becomes three equal channels, 16-bit grey keeps its upper 8 bits, CMYK and palettes
are converted, and transparency is dropped (the colour under it stays). But EXIF's orientation is honoured: whoever points at
a photo points at what a viewer shows.
"""

import io
import math
from dataclasses import dataclass, replace
from typing import Final, Literal, cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from services.inference.segmentation.errors import BadImage, ImageTooLarge
from shared.picosam.prompt import Shape, Window, crop, extract

MAX_SIDE: Final = 16_384
"""Pixels along one side: far beyond it an image is a strip, whose windows would be mostly nothing."""

_FORMATS: Final = ("JPEG", "PNG", "WEBP")
_SIXTEEN_BIT: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_TURNS: Final = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}

Format = Literal["JPEG", "PNG", "WEBP"]
Pixels = NDArray[np.uint8]
Factors = tuple[int, int]
"""By how much columns and rows are fewer than in the file; powers of two."""


@dataclass(frozen=True, slots=True)
class Turn:
    """From the stored picture to the upright one: columns and rows swapped first, then mirrored."""

    swapped: bool = False
    flipped_x: bool = False
    flipped_y: bool = False

    def of_shape(self, shape: Shape) -> Shape:
        """Upright height and width."""
        return (shape[1], shape[0]) if self.swapped else shape

    def of_pixels(self, pixels: Pixels) -> Pixels:
        """The upright picture, a view."""
        turned = pixels.swapaxes(0, 1) if self.swapped else pixels
        return turned[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]

    def undone(self, window: Window, shape: Shape) -> Window:
        """Where the upright picture's window lies in the stored one; ``shape`` is the upright one's."""
        height, width = shape
        x0, x1 = (width - window.x1, width - window.x0) if self.flipped_x else (window.x0, window.x1)
        y0, y1 = (height - window.y1, height - window.y0) if self.flipped_y else (window.y0, window.y1)
        if self.swapped:
            x0, x1, y0, y1 = y0, y1, x0, x1
        return replace(window, x0=x0, y0=y0, x1=x1, y1=y1)


class Photo:
    """An image file. Its header is read and judged at once; pixels are decoded when windows are cut."""

    def __init__(self, content: bytes, *, max_pixels: int) -> None:
        """BadImage, ImageTooLarge."""
        self._content = content
        self._file = _opened(content, max_pixels)
        self.format: Format = "JPEG" if self._file.format == "MPO" else cast(Format, self._file.format)
        if self.format != "JPEG":
            _load(self._file)  # their EXIF may lie behind the pixels
        self._turn = _turn_of(self._file)
        self.shape = self._turn.of_shape((self._file.height, self._file.width))
        """Of the upright picture: height, width."""

    @property
    def is_turned(self) -> bool:
        """True if the stored picture is not upright."""
        return self._turn != Turn()

    def decode(self) -> None:
        """Decode all of it, to see whether it is whole. BadImage."""
        _decoded(self._file, self._content, 1)

    def decoded_for(self, windows: list[Window], size: int) -> "Views":
        """Decode what these windows of the upright picture need, for a network of ``size`` cells. BadImage."""
        stored = [self._turn.undone(window, self.shape) for window in windows]
        factors = [_factors(window, size) for window in stored]
        levels = _levels(self._file, self._content, set(factors))
        return Views(levels, list(zip(stored, factors, strict=True)), self._turn, size)


@dataclass(frozen=True, slots=True)
class Views:
    """Windows of a picture, decoded but not cut yet."""

    levels: dict[Factors, Pixels]
    windows: list[tuple[Window, Factors]]
    turn: Turn
    size: int

    def cut(self) -> Pixels:
        """What the network sees: uint8 [N, size, size, 3]."""
        cuts = [_cut(self.levels[factors], window, factors, self.size) for window, factors in self.windows]
        return np.stack([self.turn.of_pixels(pixels) for pixels in cuts])


def _opened(content: bytes, max_pixels: int) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise ImageTooLarge(f"The image has more than {max_pixels:,} pixels.", max_pixels=max_pixels) from exc
    except UnidentifiedImageError as exc:
        raise BadImage("The image is none of JPEG, PNG and WebP, or its header is damaged.") from exc
    except Exception as exc:  # Pillow's readers raise what they happen to raise: OSError, SyntaxError, struct.error, ...
        raise BadImage(f"The image's header is damaged: {exc}"[:300]) from exc
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise ImageTooLarge(
            f"The image is {width} x {height}; at most {max_pixels:,} pixels, {MAX_SIDE:,} along a side, are decoded.",
            max_pixels=max_pixels,
            max_side=MAX_SIDE,
        )
    return image


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except Exception as exc:  # as above
        raise BadImage(f"The image cannot be decoded: {exc}"[:300]) from exc


def _turn_of(image: Image.Image) -> Turn:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF says nothing; the pixels may be well
        return Turn()
    return Turn(*_TURNS.get(orientation, (False, False, False))) if isinstance(orientation, int) else Turn()


def _factors(window: Window, size: int) -> Factors:
    return _factor(window.width, size), _factor(window.height, size)


def _factor(pixels: int, cells: int) -> int:
    """The largest power of two that leaves two pixels or more for each cell; 1 where there are not so many.

    With two the masks' mean IoU with those of the full picture was 0.986 (226 windows of 384 to 640 pixels in COCO's
    photos, a trained PicoSAM2); with one only 0.957 to 0.966.
    """
    return int(1 << max(0, (pixels // (2 * cells)).bit_length() - 1))


def _levels(image: Image.Image, content: bytes, wanted: set[Factors]) -> dict[Factors, Pixels]:
    """The stored picture, smaller by each of the factors."""
    least = min(8, *(min(each) for each in wanted))
    finest = _decoded(image, content, least)
    return {(x, y): _reduced(finest, (x // least, y // least)) for x, y in wanted}


def _decoded(image: Image.Image, content: bytes, factor: int) -> Pixels:
    """RGB of the whole picture; smaller by ``factor``, at most 8, where the format allows it without decoding all of it."""
    if image.format in ("JPEG", "MPO"):
        try:
            return _decoded_jpeg(image, content, factor)
        except ValueError:  # what it refuses is for Pillow to judge
            _load(image)
    narrow = _eight_bit(image) if image.mode in _SIXTEEN_BIT else image
    return _reduced(np.asarray(narrow.convert("RGB")), (factor, factor))


def _decoded_jpeg(image: Image.Image, content: bytes, factor: int) -> Pixels:
    """Pillow's pixels in three quarters of its time; without damage, in grey or colour. ValueError for all else."""
    if image.mode not in ("L", "RGB"):
        raise ValueError("CMYK is inverted by some programs, which Pillow knows")
    if tuple(simplejpeg.decode_jpeg_header(content)[:2]) != (image.height, image.width):
        raise ValueError("the two decoders see different sizes, and only Pillow's was judged")
    pixels: Pixels = simplejpeg.decode_jpeg(content, "RGB", min_factor=factor)
    if pixels.shape[:2] != (math.ceil(image.height / factor), math.ceil(image.width / factor)):
        raise ValueError(f"the decoder cannot shrink by {factor}")
    return pixels


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit grey at 255 on conversion, which makes most of it white; the upper byte is meant."""
    return Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))


def _reduced(pixels: Pixels, factors: Factors) -> Pixels:
    return pixels if factors == (1, 1) else np.asarray(Image.fromarray(pixels).reduce(factors))


def _cut(level: Pixels, window: Window, factors: Factors, size: int) -> Pixels:
    """A window of the full picture, from the one that is smaller by ``factors``. Outside the image is 0."""
    if (window.width, window.height) == (size, size):
        return extract(level, window, size)
    x0, x1 = window.x0 / factors[0], window.x1 / factors[0]
    y0, y1 = window.y0 / factors[1], window.y1 / factors[1]
    left, top = math.floor(x0), math.floor(y0)
    around = replace(window, x0=left, y0=top, x1=math.ceil(x1), y1=math.ceil(y1))
    # Pillow's filter is the one that ``extract`` has, an order of magnitude faster, and knows fractions of pixels.
    box = (x0 - left, y0 - top, x1 - left, y1 - top)
    return np.asarray(Image.fromarray(crop(level, around)).resize((size, size), Image.Resampling.BILINEAR, box))
