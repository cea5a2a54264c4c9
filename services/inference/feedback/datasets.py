"""Corrections as a dataset in COCO's layout, which the jobs service imports like any other."""

import json
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from sqlalchemy.orm import Session

from services.inference.feedback.errors import DatasetRefused, NoFeedback
from services.inference.feedback.models import Feedback
from services.inference.feedback.service import of_deployment
from services.inference.registry.errors import ModelsAway
from services.inference.runtime import Services
from shared.client.errors import NotReachable, ProblemError
from shared.contracts.datasets import ArchiveSource, DatasetIn, DatasetOut, SplitRule, SplitSource
from shared.contracts.feedback import FeedbackDatasetIn, FeedbackDatasetOut
from shared.kit.blobs import BlobNotFound, BlobStore
from shared.picosam.data.manifest import Rle
from shared.picosam.data.rle import tight_box

log = structlog.get_logger(__name__)

_ALL: Final = "all"
_TRAIN: Final = "train"
_SUFFIX: Final = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


def make(session: Session, services: Services, wanted: FeedbackDatasetIn, *, secret: str) -> FeedbackDatasetOut:
    """Hand the corrections over under the caller's own key. NoFeedback, DatasetRefused, ModelsAway.

    Of several corrections of one prompt on one image the newest counts.
    """
    rows = _newest(session.scalars(of_deployment(wanted.deployment).order_by(Feedback.id)).all())
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "feedback.zip"
        rows = write_archive(archive, rows, services.feedback)
        if not rows:
            raise NoFeedback("There are no corrections to make a dataset of.")
        dataset = _registered(services, archive, wanted, len(rows), secret)
    return FeedbackDatasetOut(dataset=dataset, corrections=len(rows), images=len({row.image for row in rows}))


def write_archive(path: Path, rows: Sequence[Feedback], blobs: BlobStore) -> list[Feedback]:
    """Write ``images/`` and ``instances.json``. The corrections in it: those whose image is still there."""
    images: dict[str, dict[str, Any]] = {}
    gone: set[str] = set()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # images are compressed already
        for row in rows:
            if row.image not in images and row.image not in gone:
                _add_image(archive, row, blobs, images, gone)
        kept = [row for row in rows if row.image in images]
        archive.writestr("instances.json", json.dumps(_coco(kept, images)))
    return kept


def _newest(rows: Sequence[Feedback]) -> list[Feedback]:
    """``rows`` come oldest first."""
    return list({(row.image, json.dumps(row.prompt, sort_keys=True)): row for row in rows}.values())


def _add_image(
    archive: zipfile.ZipFile, row: Feedback, blobs: BlobStore, images: dict[str, dict[str, Any]], gone: set[str]
) -> None:
    name = f"{row.image.removeprefix('sha256:')[:24]}.{_SUFFIX[row.format]}"
    try:
        with blobs.open(row.image) as file:
            archive.writestr(f"images/{name}", file.read())
    except BlobNotFound:  # past its retention a moment ago
        log.warning("feedback.image_gone", correction=row.id, image=row.image)
        gone.add(row.image)
        return
    images[row.image] = {"id": len(images) + 1, "file_name": name, "width": row.width, "height": row.height}


def _coco(rows: Sequence[Feedback], images: dict[str, dict[str, Any]]) -> dict[str, Any]:
    labels = {label: number for number, label in enumerate(sorted({row.label for row in rows}), start=1)}
    annotations = [
        {
            "id": number,
            "image_id": images[row.image]["id"],
            "category_id": labels[row.label],
            "segmentation": {"size": [row.height, row.width], "counts": row.counts},
            "bbox": tight_box(Rle(size=(row.height, row.width), counts=row.counts)),
            "area": row.area,
            "iscrowd": 0,
        }
        for number, row in enumerate(rows, start=1)
        if row.area  # that nothing is there teaches no mask
    ]
    categories = [{"id": number, "name": label} for label, number in labels.items()]
    return {"images": list(images.values()), "annotations": annotations, "categories": categories}


def _registered(services: Services, archive: Path, wanted: FeedbackDatasetIn, corrections: int, secret: str) -> DatasetOut:
    from shared.client.sdk import PicofleetClient  # as where models are fetched: not at the service's start

    with PicofleetClient(services.settings.jobs_url, secret) as client:
        try:
            blob = client.blobs.upload(archive)
            return client.datasets.register(_dataset(wanted, blob.digest, corrections))
        except NotReachable as exc:
            raise ModelsAway(f"The jobs service does not answer: {exc}") from exc
        except ProblemError as exc:
            raise DatasetRefused(f"The jobs service refused the dataset: {exc}") from exc


def _dataset(wanted: FeedbackDatasetIn, digest: str, corrections: int) -> DatasetIn:
    share = wanted.validation_share
    split = SplitSource(split=_ALL if share else _TRAIN, images="images", annotations="instances.json")
    return DatasetIn(
        name=wanted.name,
        source=ArchiveSource(blob=digest, splits=[split]),
        split_rule=SplitRule(from_split=_ALL, fractions={_TRAIN: 1 - share, "val": share}) if share else None,
        description=wanted.description or f"{corrections} corrections of served masks",
        tags={"feedback/deployment": wanted.deployment or "all"},
    )
