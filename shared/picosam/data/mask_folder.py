"""A folder of images and a folder of masks with the same names: every label of a mask is one object."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.contracts.datasets import BadRow, SplitSource
from shared.picosam.data import rle
from shared.picosam.data.errors import ImportRefused
from shared.picosam.data.findings import Checked, bad_row
from shared.picosam.data.images import ImageProblem, decode_labels, read_bytes, resolve_inside
from shared.picosam.data.manifest import Category, ImageRow, Instance
from shared.picosam.data.picture import Picture, read_picture

CATEGORIES: Final = {1: Category(id=1, name="object")}

MAX_LABELS: Final = 2000
"""Objects in one mask; more is a photograph taken for a mask."""

_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_LABEL_BITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskFolder:
    """One split, its files paired by name without suffix."""

    source: SplitSource
    pairs: list[tuple[str, str, str]]
    categories: dict[int, Category]
    bad: list[BadRow]

    @property
    def images(self) -> list[tuple[str, str, str]]:
        """(name, image, mask) triples, in the order of names."""
        return self.pairs

    def tasks(self) -> "Iterator[MaskTask]":
        """The images in the order of their names."""
        return (MaskTask(self.source.split, *pair) for pair in self.pairs)


@dataclass(frozen=True, slots=True)
class MaskTask:
    """One image with its mask to check."""

    split: str
    name: str
    image: str
    mask: str

    def check(self, root: Path) -> Checked:
        """Reads image and mask below ``root`` (resolved); every label but 0 becomes an instance."""
        image_id = id_of(self.name)
        try:
            picture = read_picture(root, self.image)
            labels = decode_labels(read_bytes(resolve_inside(root, self.mask)), self.mask)
            values = _labels(labels, picture, self.mask)
        except ImageProblem as exc:
            return Checked(bad=[bad_row(self.split, exc.kind, str(exc), image_id=image_id)])
        if not values:
            return Checked(bad=[bad_row(self.split, "empty_mask", f"{self.mask} is all background", image_id=image_id)])
        row = ImageRow(
            split=self.split,
            file=picture.file,
            sha256=picture.sha256,
            width=picture.shape[1],
            height=picture.shape[0],
            image_id=image_id,
            instances=tuple(_instance(labels == value, (image_id << _LABEL_BITS) + value) for value in values),
        )
        return Checked(row=row)


def open_mask_folder(root: Path, source: SplitSource) -> MaskFolder:
    """Pairs images and masks by name. ``ImportRefused`` if a folder is not there or an image has two masks."""
    images, masks = _files(root, source.images, source.split), _files(root, source.annotations, source.split)
    bad = [
        bad_row(source.split, "missing_mask", f"{images[name]} has no mask") for name in sorted(images.keys() - masks.keys())
    ]
    bad += [
        bad_row(source.split, "missing_image", f"{masks[name]} has no image") for name in sorted(masks.keys() - images.keys())
    ]
    pairs = [(name, images[name], masks[name]) for name in sorted(images.keys() & masks.keys())]
    return MaskFolder(source=source, pairs=pairs, categories=dict(CATEGORIES), bad=bad)


def id_of(name: str) -> int:
    """An image id of 47 bits from its name, so that more files leave the others' ids and splits alone."""
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:6]) >> 1


def _files(root: Path, folder: str, split: str) -> dict[str, str]:
    """Image files below ``folder`` by their relative name without suffix; links to folders are not followed."""
    top = (root / folder).resolve()
    if not top.is_relative_to(root) or not top.is_dir():
        raise ImportRefused(f"split {split!r}: {folder!r} is not a folder below the dataset's root")
    found: dict[str, str] = {}
    for place, _, names in os.walk(top):
        for name in names:
            path = Path(place, name)
            if path.suffix.lower() in _SUFFIXES:
                key = path.relative_to(top).with_suffix("").as_posix()
                if key in found:
                    raise ImportRefused(f"split {split!r}: {folder!r} has two files named {key!r}")
                found[key] = path.relative_to(root).as_posix()
    return found


def _labels(labels: NDArray[np.int32], picture: Picture, mask: str) -> list[int]:
    if labels.shape != picture.shape:
        detail = f"{mask} is {labels.shape[1]} x {labels.shape[0]}, its image {picture.shape[1]} x {picture.shape[0]}"
        raise ImageProblem("mask_size_differs", detail)
    values = np.unique(labels)
    values = values[values != 0]
    if values.size > MAX_LABELS or (values.size and not 0 < values[0] <= values[-1] < 2**_LABEL_BITS):
        raise ImageProblem("unreadable_mask", f"{mask} has {values.size} labels; at most {MAX_LABELS} of 1 to 65535 are read")
    return [int(value) for value in values]


def _instance(mask: NDArray[np.bool_], identifier: int) -> Instance:
    code = rle.from_mask(mask)
    return Instance(id=identifier, category=1, bbox=rle.tight_box(code), area=float(rle.area(code)), iscrowd=False, rle=code)
