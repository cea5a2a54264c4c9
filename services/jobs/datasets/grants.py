"""What a worker is told of a dataset, so that it can read it."""

from pathlib import Path

from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from shared.contracts.datasets import DatasetState
from shared.contracts.worker import DatasetGrant


def grant(session: Session, dataset_id: str) -> DatasetGrant | None:
    """The grant of a ready dataset by id; None if it was deleted, or is not ready."""
    dataset = session.get(Dataset, dataset_id)
    return None if dataset is None or dataset.state != DatasetState.READY else grant_of(dataset)


def grant_of(dataset: Dataset) -> DatasetGrant:
    """The grant of a ready dataset."""
    if dataset.digest is None or dataset.manifest is None:
        raise ValueError(f"dataset {dataset.id} is not ready")
    root = Path(dataset.source["root"]).as_uri() if dataset.source["kind"] == "folder" else None
    return DatasetGrant(
        id=dataset.id, name=dataset.name, digest=dataset.digest, manifest=dataset.manifest, root=root, archive=dataset.archive
    )
