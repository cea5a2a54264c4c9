"""The demo's datasets: real images where there are some, else the built-in generator; registered once and then reused."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.client.errors import ProblemError, Unusable
from shared.client.sdk import PicofleetClient
from shared.contracts.datasets import (
    DatasetIn,
    DatasetOut,
    DatasetSelection,
    DatasetState,
    FolderSource,
    GeneratorSource,
    SplitSource,
)

FINGERPRINT: Final = "demo/fingerprint"
"""Tag with a digest of annotation files, image names and sizes: tells in a moment whether a folder is the one registered."""


@dataclass(frozen=True, slots=True)
class DemoData:
    """What is registered, and which of it the training job selects. ``datasets`` and ``selections`` name the same datasets."""

    origin: str
    datasets: list[DatasetIn]
    train: list[tuple[str, str]]
    validation: tuple[str, str]


def real_images(root: Path) -> DemoData:
    """COCO 2017 images and person windows below ``root``; Unusable if they are not laid out as expected."""
    coco = _folder(
        "coco2017",
        root / "coco2017",
        [
            SplitSource(split="train", images="train2017", annotations="annotations/instances_train2017.json"),
            SplitSource(split="val", images="val2017", annotations="annotations/instances_val2017.json"),
        ],
    )
    datasets, train = [coco], [("coco2017", "train")]
    windows = root / "coco2017_person_windows"
    if windows.is_dir():
        split = SplitSource(split="all", images="images", annotations="instances.json")
        datasets.append(_folder("person-windows", windows, [split]))
        train.append(("person-windows", "all"))
    return DemoData(f"real images from {root}", datasets, train, ("coco2017", "val"))


def generated(images: int) -> DemoData:
    """Shapes from the built-in generator."""
    source = GeneratorSource(images=images)
    fingerprint = hashlib.sha256(source.model_dump_json().encode()).hexdigest()
    dataset = DatasetIn(name="shapes", source=source, description="Demo", tags={FINGERPRINT: fingerprint})
    return DemoData(f"{images} generated images", [dataset], [("shapes", "train")], ("shapes", "val"))


def ensure_registered(client: PicofleetClient, wanted: DatasetIn) -> tuple[DatasetOut, bool]:
    """The registered dataset that holds what ``wanted`` says, and whether it was there before.

    If the name is taken by other content, a name with a part of the fingerprint is used; a failed import is done again.
    """
    for name in (wanted.name, f"{wanted.name}-{wanted.tags[FINGERPRINT][:8]}"):
        dataset = wanted.model_copy(update={"name": name})
        found = client.datasets.find(name)
        if found is None:
            return _registered(client, dataset), False
        if found.tags.get(FINGERPRINT) != wanted.tags[FINGERPRINT] or found.source != wanted.source:
            continue
        if found.state is not DatasetState.FAILED:
            return found, True
        client.datasets.delete(found.id)
        return _registered(client, dataset), False
    raise Unusable(
        f"The names {wanted.name} and {name} are both taken by other data.", hint=f"Remove one: `picofleet datasets rm {name}`."
    )


def selections(names: dict[str, str], data: DemoData) -> tuple[list[DatasetSelection], DatasetSelection]:
    """(train, validation) of the job; ``names`` maps the wanted names to the registered ones."""
    train = [DatasetSelection(dataset=names[name], split=split) for name, split in data.train]
    return train, DatasetSelection(dataset=names[data.validation[0]], split=data.validation[1])


def _registered(client: PicofleetClient, dataset: DatasetIn) -> DatasetOut:
    try:
        return client.datasets.register(dataset)
    except ProblemError as exc:
        found = client.datasets.find(dataset.name) if exc.status == 409 else None
        if found is None or found.tags.get(FINGERPRINT) != dataset.tags[FINGERPRINT]:
            raise
        return found  # another demo was quicker by a moment


def _folder(name: str, root: Path, splits: Sequence[SplitSource]) -> DatasetIn:
    source = FolderSource(root=str(root.resolve()), splits=list(splits))
    return DatasetIn(name=name, source=source, description="Demo", tags={FINGERPRINT: _fingerprint(root, splits)})


def _fingerprint(root: Path, splits: Sequence[SplitSource]) -> str:
    digest = hashlib.sha256()
    for split in splits:
        annotations, images = root / split.annotations, root / split.images
        if not annotations.is_file() or not images.is_dir():
            raise Unusable(
                f"PICOFLEET_DATA lacks {images} or {annotations}.",
                hint="Lay it out as coco2017/{train2017,val2017,annotations}, or unset PICOFLEET_DATA to use generated images.",
            )
        with annotations.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        for image in sorted(images.iterdir()):
            digest.update(f"{split.split}/{image.name}:{image.stat().st_size}\n".encode())
    return digest.hexdigest()
