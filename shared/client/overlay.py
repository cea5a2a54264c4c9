"""Pictures of what was segmented: the photo with translucent masks, and the masks as files. Needs Pillow alone."""

import base64
import binascii
import colorsys
import io
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from shared.client.errors import UnexpectedAnswer, Unusable
from shared.contracts.segmentation import ObjectOut, Prompt, SegmentOut

FORMATS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""Of overlays, by ending."""

_READ: Final = ("JPEG", "PNG", "WEBP")
_ORIENTATION: Final = 0x0112
_TRANSLUCENT: Final = 105
_LONGEST_LABEL: Final = 24
_MOST_LABELS: Final = 20
"""Beyond, as over a grid's objects, labels would cover what they name."""

_LEGIBLE: Final = 800
"""Pixels: a smaller photo is enlarged by a whole number as far as this, or labels would cover it."""

_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]")

Colour: TypeAlias = tuple[int, int, int]
Area: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Photo:
    """An image file as it is, and its size upright, as cameras' orientation tags want it shown."""

    path: Path
    content: bytes
    width: int
    height: int

    @classmethod
    def read(cls, path: Path) -> "Photo":
        """The file; Unusable unless it is a JPEG, PNG or WebP image. Only its header is looked at."""
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise Unusable(f"{path} cannot be read: {exc.strerror}", hint="Name an existing file that you may read.") from exc
        with _opened(content, path) as image:
            width, height = image.size
            try:
                turned = image.getexif().get(_ORIENTATION, 1) in {5, 6, 7, 8}
            except Exception:  # broken tags of any kind: whoever shows the photo ignores them too
                turned = False
        return cls(path, content, *((height, width) if turned else (width, height)))

    def upright(self) -> Image.Image:
        """The pixels, RGB; Unusable if they cannot be decoded."""
        with _opened(self.content, self.path) as image:
            try:
                return ImageOps.exif_transpose(image).convert("RGB")
            except (OSError, SyntaxError, ValueError) as exc:
                raise Unusable(f"{self.path} is damaged: {exc}") from exc


def save_overlay(photo: Photo, answer: SegmentOut, to: Path, prompts: Sequence[Prompt] = ()) -> Path:
    """The photo with all masks, their windows, ``prompts`` and confidences; a small photo is enlarged by a whole number.

    The ending of ``to`` decides the format.
    """
    picture = photo.upright()
    scale = max(1, _LEGIBLE // max(picture.size))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    line = max(1, round(max(picture.size) / 450))
    for number, found in sorted(enumerate(answer.objects), key=lambda each: -each[1].area):  # small ones are not covered
        _paint_mask(picture, found, colour_of(number), line, scale)
    draw = ImageDraw.Draw(picture, "RGBA")
    for number, found in enumerate(answer.objects):
        prompt = prompts[number] if number < len(prompts) else None
        _draw_marks(draw, found, prompt, colour_of(number), line, scale)
    named = answer.objects if len(answer.objects) <= _MOST_LABELS else []
    for number, found in enumerate(named):  # last, so that nothing covers what is to be read
        if found.mask is not None:
            _draw_label(draw, picture.size, found, colour_of(number), scale)
    handle, temporary = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    os.close(handle)
    picture.save(temporary, FORMATS[to.suffix.lower()], quality=92)
    Path(temporary).chmod(0o644)
    return Path(temporary).replace(to)


def save_masks(answer: SegmentOut, folder: Path, stem: str) -> list[Path]:
    """Each mask as ``STEM-ID.png`` in ``folder``, which is made: one bit per pixel, of the photo's size."""
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for found in answer.objects:
        if found.mask is not None:
            saved.append(folder / f"{stem}-{_NOT_IN_NAMES.sub('_', found.id)}.png")
            saved[-1].write_bytes(_png(found))
    return saved


def colour_of(number: int) -> Colour:
    """A bright colour; neighbours differ strongly, and none returns soon."""
    hue = (0.56 + number * 0.618034) % 1  # the golden ratio never lets hues meet
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def mask_of(found: ObjectOut, size: tuple[int, int]) -> Image.Image | None:
    """The mask as an image of 0 and 255; None if nothing was found. UnexpectedAnswer if it is none of ``size``."""
    if found.mask is None:
        return None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(_png(found)), formats=["PNG"]) as image:
            if image.size == size:
                return image.convert("L")
            told = f"has {image.size[0]} x {image.size[1]} pixels"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as exc:
        told = f"is no PNG: {exc}"
    raise UnexpectedAnswer(f"The mask of object {found.id} {told}.", hint="Client and service are of different versions.")


def _opened(content: bytes, path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings(action="ignore"):  # of large images, which the service judges
            return Image.open(io.BytesIO(content), formats=_READ)
    except Image.DecompressionBombError as exc:
        raise Unusable(f"{path} has too many pixels.", hint="Make it smaller first.") from exc
    except (OSError, SyntaxError, ValueError) as exc:
        raise Unusable(f"{path} is no JPEG, PNG or WebP image.", hint="Convert it first.") from exc


def _png(found: ObjectOut) -> bytes:
    try:
        return base64.b64decode((found.mask.png if found.mask is not None else None) or "", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise UnexpectedAnswer(f"The mask of object {found.id} is no base64.") from exc


def _paint_mask(picture: Image.Image, found: ObjectOut, colour: Colour, line: int, scale: int) -> None:
    mask = mask_of(found, (picture.width // scale, picture.height // scale))
    mask = None if mask is None else mask.resize(picture.size, Image.Resampling.NEAREST)
    place = mask.getbbox() if mask is not None else None
    if mask is None or place is None:
        return
    area = _grown(place, line + 1, picture.size)  # a filter over all of a large photo takes seconds
    mask = mask.crop(area)
    picture.paste(colour, area, mask.point([0] + [_TRANSLUCENT] * 255))
    for reach, shade in ((2 * line, _dark(colour)), (line, colour)):
        wide = mask.filter(ImageFilter.MaxFilter(2 * reach + 1)) if reach > line else mask
        narrow = mask if reach > line else mask.filter(ImageFilter.MinFilter(2 * reach + 1))
        picture.paste(shade, area, ImageChops.subtract(wide, narrow))


def _draw_marks(
    draw: ImageDraw.ImageDraw, found: ObjectOut, prompt: Prompt | None, colour: Colour, line: int, scale: int
) -> None:
    """The window thinly, the box, and the point as a dot that is seen on any ground."""
    window, grid_point = found.window, found.point
    if prompt is not None:
        edges = (window.x0, window.y0, window.x1, window.y1)
        draw.rectangle([scale * edge for edge in edges], outline=(*colour, 120), width=line)
        if prompt.box is not None:
            draw.rectangle([scale * edge for edge in prompt.box], outline=(255, 255, 255, 230), width=line)
    point = prompt.point if prompt is not None else grid_point
    if point is not None:
        x, y = (point[0] + 0.5) * scale, (point[1] + 0.5) * scale
        for radius, shade in ((4.5 * line, (0, 0, 0)), (3.5 * line, (255, 255, 255)), (2 * line, colour)):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade)


def _draw_label(draw: ImageDraw.ImageDraw, size: tuple[int, int], found: ObjectOut, colour: Colour, scale: int) -> None:
    """Name and confidence above the object, or in it where the picture ends."""
    name = "".join(char for char in found.label or found.id if char.isprintable())[:_LONGEST_LABEL]
    text, font = f"{name} {found.confidence:.2f}", ImageFont.load_default(max(10, round(max(size) / 50)))
    x, y = (scale * edge for edge in (found.box or (found.window.x0, found.window.y0))[:2])
    left, top, right, low = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, low - top + 6
    at_x = max(0, min(x, size[0] - width))
    at_y = y - height - 3 if y >= height + 3 else max(0, min(y + 3, size[1] - height))
    draw.rectangle((at_x, at_y, at_x + width, at_y + height), fill=(*_dark(colour), 215))
    draw.text((at_x + 3 - left, at_y + 3 - top), text, fill=(255, 255, 255), font=font)


def _grown(area: Area, by: int, size: tuple[int, int]) -> Area:
    x0, y0, x1, y1 = area
    return max(0, x0 - by), max(0, y0 - by), min(size[0], x1 + by), min(size[1], y1 + by)


def _dark(colour: Colour) -> Colour:
    red, green, blue = colour
    return red // 3, green // 3, blue // 3
