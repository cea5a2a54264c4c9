"""What becomes of a dataset when its import job ends. Called inside the transaction that ends the job."""

from sqlalchemy import update
from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from shared.contracts.datasets import DatasetState
from shared.contracts.worker import ImportedDataset


def complete(session: Session, dataset_id: str, found: ImportedDataset) -> bool:
    """The dataset is ready. False, and nothing done, if it was deleted meanwhile or is ready already."""
    return _change(
        session,
        dataset_id,
        state=DatasetState.READY,
        digest=found.digest,
        manifest=found.manifest,
        report=found.report,
        archive=found.archive or _uploaded_archive(session, dataset_id),
        splits=found.splits,
        problems=found.problems,
        error=None,
    )


def fail(session: Session, dataset_id: str, message: str) -> bool:
    """The import failed for good or was cancelled. False if the dataset was deleted meanwhile or is ready already."""
    return _change(session, dataset_id, state=DatasetState.FAILED, error=message[:4000])


def restart(session: Session, dataset_id: str) -> bool:
    """The import job is tried again. False if the dataset was deleted meanwhile or is ready already."""
    return _change(session, dataset_id, state=DatasetState.IMPORTING, error=None)


def _change(session: Session, dataset_id: str, **values: object) -> bool:
    unready = update(Dataset).where(Dataset.id == dataset_id, Dataset.state != DatasetState.READY)
    return session.scalar(unready.values(values).returning(Dataset.id)) is not None


def _uploaded_archive(session: Session, dataset_id: str) -> str | None:
    dataset = session.get(Dataset, dataset_id)
    blob = dataset.source.get("blob") if dataset is not None else None
    return None if blob is None else str(blob)
