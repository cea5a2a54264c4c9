"""Pictures for a machine without data: textured shapes that overlap and partly hide each other, with exact masks.

Every picture is a function of the seed and its number alone, so that a longer dataset begins with the shorter one, and threads
change nothing. Written in COCO layout: ``images/000001.jpg`` ..., ``instances.json`` (masks as compressed RLE).
"""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.contracts.datasets import GeneratorSource
from shared.picosam.data import rle
from shared.picosam.data.manifest import Rle
from shared.picosam.data.ordered import Report, cores, ignore, never, ordered_map

SHAPES: Final = ("ellipse", "box", "blob", "ring", "star")

MIN_VISIBLE: Final = 24
"""Pixels; of what is hidden further only the colour is left, as in real pictures."""

_JPEG_QUALITY: Final = 90

_FURTHEST: Final = 1.25
"""No outline goes further from its centre, in radii: a box's corner lies at 0.85 * sqrt(2)."""

Field = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """A picture, uint8 [H, W, 3], and its objects from back to front: category ids 1.. and visible masks, bool [H, W]."""

    image: NDArray[np.uint8]
    objects: list[tuple[int, NDArray[np.bool_]]]


def generate(source: GeneratorSource, folder: Path, *, progress: Report = ignore, stop: Callable[[], bool] = never) -> None:
    """Writes the pictures and their annotations below ``folder``; progress counts images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    numbers = range(1, source.images + 1)
    with (folder / "instances.json").open("wb") as file, ThreadPoolExecutor(cores()) as executor:
        # The image rows are known before the pictures are, so that the masks can be written as they come.
        file.write(b'{"categories":' + _json([{"id": number, "name": name} for number, name in enumerate(SHAPES, 1)]))
        file.write(b',"images":' + _json([_image_row(source, number) for number in numbers]) + b',"annotations":[')
        count = 0
        drawn = ordered_map(executor, partial(_write, source, folder), numbers, ahead=4 * cores(), stop=stop)
        for number, objects in enumerate(drawn, 1):
            for category, code in objects:
                count += 1
                file.write((b",\n" if count > 1 else b"\n") + _json(_annotation(count, number, category, code)))
            progress(number, source.images)
        file.write(b"]}\n")


def draw(source: GeneratorSource, number: int) -> Drawing:
    """Picture ``number``, from 1."""
    rng = np.random.default_rng([source.seed, number])
    shape = (source.height, source.width)
    image = _background(rng, shape)
    owner = np.zeros(shape, dtype=np.int32)
    categories = []
    for label in range(1, int(rng.integers(1, source.max_objects + 1)) + 1):
        category = int(rng.integers(len(SHAPES)))
        place, mask = _shape(rng, SHAPES[category], shape)
        image[place][mask] = _texture(rng, mask.shape)[mask]
        owner[place][mask] = label
        categories.append(category + 1)
    objects = [(category, owner == label) for label, category in enumerate(categories, 1)]
    noisy = image + rng.normal(0.0, 4.0, image.shape)
    visible = [(category, mask) for category, mask in objects if mask.sum() >= MIN_VISIBLE]
    return Drawing(image=noisy.clip(0, 255).round().astype(np.uint8), objects=visible)


def picture_file(source: GeneratorSource, number: int) -> bytes:
    """The file of picture ``number``, as `generate` writes it."""
    return _jpeg(draw(source, number))


def _jpeg(drawing: Drawing) -> bytes:
    content = io.BytesIO()
    Image.fromarray(drawing.image).save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()


def _write(source: GeneratorSource, folder: Path, number: int) -> list[tuple[int, Rle]]:
    drawing = draw(source, number)
    (folder / "images" / _file_name(number)).write_bytes(_jpeg(drawing))
    return [(category, rle.from_mask(mask)) for category, mask in drawing.objects]


def _background(rng: Rng, shape: rle.Shape) -> Field:
    return 0.6 * _texture(rng, shape) + 0.4 * _cloud(rng, shape)[..., None] * 255


def _texture(rng: Rng, shape: rle.Shape) -> Field:
    """float [H, W, 3] in 0..255: two colours mixed by stripes, checks, a gradient or clouds."""
    dark, light = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
    along = (x * np.cos(angle) + y * np.sin(angle)) / period
    across = (y * np.cos(angle) - x * np.sin(angle)) / period
    mixes: list[Callable[[], Field]] = [
        lambda: 0.5 + 0.5 * np.sin(2 * np.pi * along),
        lambda: (np.floor(along) + np.floor(across)) % 2,
        lambda: (along - along.min()) / max(float(np.ptp(along)), 1e-9),
        lambda: _cloud(rng, shape),
    ]
    mix = mixes[int(rng.integers(len(mixes)))]()[..., None]
    return dark + (light - dark) * mix


def _cloud(rng: Rng, shape: rle.Shape) -> Field:
    """Smooth noise in 0..1, [H, W]: a coarse random grid, enlarged."""
    coarse = Image.fromarray(rng.uniform(0, 1, (int(rng.integers(3, 12)), int(rng.integers(3, 12)))).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float64).clip(0, 1)


def _shape(rng: Rng, kind: str, shape: rle.Shape) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """A filled shape: where it lies (rows, columns) and its mask there. Its centre is in the picture, the border may cut it.

    Sizes are spread evenly over their logarithm, from 4 % to 40 % of the shorter side: as in COCO, small ones are common.
    """
    height, width = shape
    radius = min(shape) * float(np.exp(rng.uniform(np.log(0.04), np.log(0.4))))
    cx, cy = rng.uniform(0, width), rng.uniform(0, height)
    reach = _FURTHEST * radius
    place = slice(max(0, int(cy - reach)), int(cy + reach) + 1), slice(max(0, int(cx - reach)), int(cx + reach) + 1)
    y, x = np.ogrid[:height, :width]
    dx, dy = x[:, place[1]] - cx, y[place[0]] - cy
    turn, stretch = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 1.0)
    u = (dx * np.cos(turn) + dy * np.sin(turn)) / radius
    v = (dy * np.cos(turn) - dx * np.sin(turn)) / (radius * stretch)
    distance, direction = np.hypot(u, v), np.arctan2(v, u)
    match kind:
        case "box":
            filled = np.maximum(abs(u), abs(v)) < 0.85
        case "ring":
            filled = (distance < 1) & (distance > rng.uniform(0.3, 0.6))
        case "star":
            filled = distance < 0.7 + 0.3 * np.cos(direction * int(rng.integers(3, 8)))
        case "blob":
            filled = distance < 0.75 + _waves(rng, direction)
        case _:
            filled = distance < 1
    return place, np.asarray(filled, dtype=np.bool_)


def _waves(rng: Rng, direction: Field) -> Field:
    """An uneven outline: three waves round the shape, 0.2 high together at most."""
    waves: Iterator[Any] = (
        rng.uniform(0, 0.2 / 3) * np.sin(count * direction + rng.uniform(0, 2 * np.pi)) for count in (2, 3, 5)
    )
    return np.asarray(sum(waves), dtype=np.float64)


def _file_name(number: int) -> str:
    return f"{number:06d}.jpg"


def _image_row(source: GeneratorSource, number: int) -> dict[str, Any]:
    return {"id": number, "file_name": _file_name(number), "width": source.width, "height": source.height}


def _annotation(identifier: int, image_id: int, category: int, code: Rle) -> dict[str, Any]:
    return {
        "id": identifier,
        "image_id": image_id,
        "category_id": category,
        "segmentation": {"size": code.size, "counts": code.counts},
        "bbox": rle.tight_box(code),
        "area": rle.area(code),
        "iscrowd": 0,
    }


def _json(value: object) -> bytes:
    return msgspec.json.encode(value)
