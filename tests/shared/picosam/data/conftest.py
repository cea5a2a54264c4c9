"""Small datasets in COCO layout, right unless a test says otherwise."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from shared.contracts.datasets import DatasetFormat, DatasetReport, FolderSource, SplitRule, SplitSource
from shared.picosam.data.importer import Imported, import_dataset
from shared.picosam.data.manifest import ImageRow, read_rows

WIDTH, HEIGHT = 64, 48
SQUARE = [[10, 10, 30, 10, 30, 30, 10, 30]]


def noise(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def image_row(number: int, **overrides: Any) -> dict[str, Any]:
    return {"id": number, "file_name": f"{number}.png", "width": WIDTH, "height": HEIGHT} | overrides


def annotation(number: int = 1, image: int = 1, **overrides: Any) -> dict[str, Any]:
    row = {"id": number, "image_id": image, "category_id": 1, "segmentation": SQUARE, "bbox": [10, 10, 20, 20]}
    return row | {"area": 400.0, "iscrowd": 0} | overrides


@dataclass
class CocoFolder:
    """A folder under construction: one split named `all`, images 1.png, 2.png, ..."""

    root: Path
    images: list[Any] = field(default_factory=list)
    annotations: list[Any] = field(default_factory=list)
    categories: list[Any] = field(default_factory=lambda: [{"id": 1, "name": "thing"}])
    format: DatasetFormat = DatasetFormat.COCO

    def source(self) -> FolderSource:
        split = SplitSource(split="all", images="images", annotations="instances.json")
        return FolderSource(root=str(self.root), format=self.format, splits=[split])

    def write(self) -> None:
        content = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        (self.root / "instances.json").write_text(json.dumps(content))

    def load(self, rule: SplitRule | None = None) -> Imported:
        self.write()
        return self.load_as_is(rule)

    def load_as_is(self, rule: SplitRule | None = None) -> Imported:
        out = self.root.parent / "out"
        out.mkdir(exist_ok=True)
        return import_dataset(self.root, self.source(), rule, "test", out)

    def report(self) -> DatasetReport:
        return self.load().report

    def rows(self) -> list[ImageRow]:
        return list(read_rows(self.load().manifest_path))


@pytest.fixture
def coco(tmp_path: Path) -> Callable[..., CocoFolder]:
    """Makes a folder with the given annotations on `images` pictures (two by default)."""

    def make(*annotations: Any, images: int = 2) -> CocoFolder:
        folder = CocoFolder(tmp_path / "data")
        (folder.root / "images").mkdir(parents=True)
        for number in range(1, images + 1):
            Image.fromarray(noise(number)).save(folder.root / "images" / f"{number}.png")
        folder.images = [image_row(number) for number in range(1, images + 1)]
        folder.annotations = list(annotations)
        return folder

    return make


@pytest.fixture
def a_row() -> Callable[..., dict[str, Any]]:
    """A right annotation of image 1, with overrides."""
    return annotation


@pytest.fixture
def an_image() -> Callable[..., dict[str, Any]]:
    """A right image row, with overrides."""
    return image_row
