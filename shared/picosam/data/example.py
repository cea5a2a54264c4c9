"""One image of a dataset with some of its objects to point at: what a deployed model is tried on."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.contracts.datasets import ArchiveSource, FolderSource, GeneratorSource, Source
from shared.picosam.data import generator, rle
from shared.picosam.data.errors import DataError, DatasetChanged
from shared.picosam.data.manifest import ImageRow, Instance, read_rows
from shared.picosam.prompt import INPUT_SIZE, Pixel, prompt_point

_SMALLEST: Final = 0.25
"""Of the window's side: what is smaller can hardly be seen in a picture."""


class NoExample(DataError):
    """The split has no image that could be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """``content`` is the image file, named ``name`` in its dataset; ``instances`` are what is pointed at, largest first."""

    name: str
    content: bytes
    instances: tuple[Instance, ...]

    def points(self) -> list[Pixel]:
        """The published protocol's prompt of each instance."""
        return [prompt_point(rle.to_mask(instance.rle)) for instance in self.instances]

    def iou(self, number: int, mask: Any) -> float:
        """How well a mask of the image's size, an array or a Pillow image, agrees with that instance. Non-zero is object."""
        true, found = rle.to_mask(self.instances[number].rle), np.asarray(mask) != 0
        return float((true & found).sum() / (true | found).sum())


def find_example(manifest: Path, split: str, source: Source, *, objects: int = 3, side: int = INPUT_SIZE) -> Example:
    """The image of ``split`` with the largest ``objects`` that still fit into windows of ``side`` pixels.

    NoExample, DatasetChanged; OSError if its file is gone.
    """
    row = max(read_rows(manifest, split), key=lambda each: _shown(_fitting(each, side, objects)), default=None)
    found = () if row is None else _fitting(row, side, objects) or row.prompts()[:objects]
    if row is None or not found:
        raise NoExample(f"The split {split} has no masks.")
    content = _file(source, row.file)
    if row.sha256 != hashlib.sha256(content).hexdigest():
        raise DatasetChanged(f"{row.file} is no longer the file that was imported.")
    return Example(name=row.file, content=content, instances=tuple(found))


def _fitting(row: ImageRow, side: int, objects: int) -> list[Instance]:
    sized = [each for each in row.prompts() if _SMALLEST * side <= max(each.bbox[2:]) <= side]
    return sorted(sized, key=lambda each: -each.area)[:objects]


def _shown(found: Iterable[Instance]) -> tuple[int, float]:
    """More objects go before larger ones."""
    areas = [each.area for each in found]
    return len(areas), sum(areas)


def _file(source: Source, name: str) -> bytes:
    match source:
        case GeneratorSource():
            return generator.picture_file(source, int(Path(name).stem))
        case FolderSource():
            return (Path(source.root.removeprefix("file://")) / name).read_bytes()
        case ArchiveSource():
            raise NoExample("The images of an uploaded archive are with the platform alone.")
