"""The windows of `bench_gain`, prepared once into a folder and used again by later runs."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.contracts.datasets import FolderSource, GeneratorSource, SplitSource
from shared.contracts.training import Augmentation
from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.augment import canvas_for
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import Imported, import_dataset
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, prepare

BORDERS: Final = (Border.AUTHORS, Border.PAD)
MARGIN: Final = ShardPolicy(window=WindowPolicy(), canvas=canvas_for(Augmentation()))
"""Of the windows to learn from."""

_PERSONS = "coco2017_person_windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class GainData:
    """Margin windows to learn from, in several sets, and plain windows to be scored on under each border rule."""

    what: str
    train: list[ShardReader]
    validation: dict[Border, ShardReader]


def gain_data(folder: Path, *, images: int | None = None) -> GainData:
    """Real images where PICOFLEET_DATA names a folder of them and ``images`` is None; else so many generated ones."""
    folder.mkdir(parents=True, exist_ok=True)
    if images is None and "PICOFLEET_DATA" in os.environ:
        return _real(Path(os.environ["PICOFLEET_DATA"]), folder)
    return _generated(images or 200, folder)


def _real(root: Path, folder: Path) -> GainData:
    coco = root / "coco2017"
    splits = [
        SplitSource(split=name, images=f"{name}2017", annotations=f"annotations/instances_{name}2017.json")
        for name in ("train", "val")
    ]
    parts = [_margin(folder / "coco", coco, FolderSource(root=str(coco), splits=splits))]
    if (persons := root / _PERSONS).is_dir():
        split = SplitSource(split="train", images="images", annotations="instances.json")
        parts.append(_margin(folder / "persons", persons, FolderSource(root=str(persons), splits=[split])))
    validation = _validation(folder / "coco", coco, FolderSource(root=str(coco), splits=splits))
    return GainData(what="the COCO 2017 subset", train=parts, validation=validation)


def _generated(images: int, folder: Path) -> GainData:
    source, root = GeneratorSource(images=images), folder / "generated"
    if not root.is_dir():
        generate(source, root)
    return GainData(
        what=f"{images} generated images",
        train=[_margin(folder / "windows", root, source)],
        validation=_validation(folder / "windows", root, source),
    )


def _margin(folder: Path, root: Path, source: FolderSource | GeneratorSource) -> ShardReader:
    return _prepared(folder / "train", "train", MARGIN, root, lambda: _imported(folder, root, source))


def _validation(folder: Path, root: Path, source: FolderSource | GeneratorSource) -> dict[Border, ShardReader]:
    return {
        border: _prepared(
            folder / f"val-{border.value}",
            "val",
            ShardPolicy(window=WindowPolicy(border=border)),
            root,
            lambda: _imported(folder, root, source),
        )
        for border in BORDERS
    }


def _prepared(folder: Path, split: str, policy: ShardPolicy, root: Path, imported: Callable[[], Imported]) -> ShardReader:
    if folder.is_dir():
        return ShardReader(folder)
    found = imported()
    return prepare(found.manifest_path, root, split, policy, folder, digest=found.digest)


def _imported(folder: Path, root: Path, source: FolderSource | GeneratorSource) -> Imported:
    folder.mkdir(parents=True, exist_ok=True)
    return import_dataset(root, source, None, "gain", folder)
