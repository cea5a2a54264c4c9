"""What else changes, in the same transaction, when a job moves: the dataset that it imports, and what it is part of."""

from sqlalchemy.orm import Session

from services.jobs.datasets import imports
from services.jobs.jobs import repository, signals
from services.jobs.jobs.models import Job
from services.jobs.pipelines import hooks
from shared.contracts.jobs import JobKind, JobState
from shared.contracts.worker import ImportedDataset


def after_move(session: Session, job: Job) -> None:
    """Carry a move of an import job over to its dataset, and tell the pipeline or sweep that any job is part of."""
    hooks.job_changed(session, job)
    if job.kind is JobKind.DATASET_IMPORT:
        _after_import(session, job)


def _after_import(session: Session, job: Job) -> None:
    dataset_id = str(job.spec["dataset_id"])
    match job.state:
        case JobState.QUEUED:
            imports.restart(session, dataset_id)
        case JobState.FAILED:
            imports.fail(session, dataset_id, str((job.error or {})["message"]))
        case JobState.CANCELLED:
            imports.fail(session, dataset_id, "The import was cancelled.")
        case JobState.RUNNING | JobState.CANCELLING | JobState.LOST | JobState.SUCCEEDED:
            return
    dispatch_readers(session, dataset_id)


def import_succeeded(session: Session, job: Job, found: ImportedDataset) -> None:
    """The dataset is ready: the jobs that waited for it can be claimed."""
    imports.complete(session, str(job.spec["dataset_id"]), found)
    dispatch_readers(session, str(job.spec["dataset_id"]))


def dispatch_readers(session: Session, dataset_id: str) -> None:
    """Send the messages of queued jobs that read the dataset: their claims were refused while it was not ready."""
    for waiting in repository.active_on_dataset(session, dataset_id):
        if waiting.state is JobState.QUEUED:
            signals.of(session).dispatched[waiting.id] = waiting.kind.value
