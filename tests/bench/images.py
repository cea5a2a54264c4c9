"""The images that benchmarks run on: real ones where PICOFLEET_DATA says so, else generated ones of the same size."""

import os
from dataclasses import dataclass
from pathlib import Path

from shared.contracts.datasets import FolderSource, GeneratorSource, SplitSource
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import import_dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchImages:
    """An imported dataset with the split that was asked for."""

    what: str
    root: Path
    manifest: Path
    digest: str


def bench_images(folder: Path, split: str = "train") -> BenchImages:
    """Imports into ``folder``, which must exist. ``split``: train or val; generated images are all train."""
    if "PICOFLEET_DATA" in os.environ:
        return _real(Path(os.environ["PICOFLEET_DATA"]) / "coco2017", folder, split)
    source = GeneratorSource(images=120, width=640, height=480)
    generate(source, folder / "generated")
    imported = import_dataset(folder / "generated", source, None, "bench", folder)
    return BenchImages(
        what="generated images of 640x480", root=folder / "generated", manifest=imported.manifest_path, digest=imported.digest
    )


def _real(root: Path, folder: Path, split: str) -> BenchImages:
    train = SplitSource(split=split, images=f"{split}2017", annotations=f"annotations/instances_{split}2017.json")
    imported = import_dataset(root, FolderSource(root=str(root), splits=[train]), None, "bench", folder)
    return BenchImages(what="COCO 2017 images", root=root, manifest=imported.manifest_path, digest=imported.digest)
