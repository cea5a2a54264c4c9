"""Decisions on jobs that users and other features ask for. What workers ask for is in `protocol`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.jobs.jobs import moves, repository
from services.jobs.jobs.domain import IllegalMove
from services.jobs.jobs.errors import JobNotCancellable, JobNotFound, JobNotRetryable
from services.jobs.jobs.models import Job, JobDataset, JobModel
from services.jobs.jobs.repository import NewEvent
from services.jobs.pipelines import hooks
from shared.contracts.base import is_id, new_id
from shared.contracts.jobs import EventType, JobError, JobOutput, JobParent, JobSpec
from shared.contracts.worker import ModelGrant


class Read(NamedTuple):
    """A split that a job reads, its dataset resolved."""

    dataset_id: str
    dataset_name: str
    split: str
    role: str
    """What the job does with it: train, calibration, validation or dataset."""


def enqueue(
    session: Session,
    *,
    spec: JobSpec,
    owner: str,
    name: str | None = None,
    tags: Mapping[str, str] | None = None,
    reads: Sequence[Read] = (),
    models: Mapping[str, ModelGrant] | None = None,
    parent: JobParent | None = None,
    parent_run_id: str | None = None,
) -> Job:
    """Queue a job in the caller's transaction; its message is sent after the commit, and again until a worker claims it.

    ``reads``: the datasets that the spec names, in its order, already resolved. ``models``: the registered
    versions that it names, by role, already held (`models.references`). ``owner``: the name of the caller's key. ``parent``:
    what the job is part of. ``parent_run_id``: the MLflow run below which the job's own is shown.
    """
    job = Job(
        id=new_id(),
        kind=spec.kind,
        name=name,
        spec=spec.model_dump(mode="json"),
        owner=owner,
        tags=dict(tags or {}),
        parent_kind=parent.kind if parent else None,
        parent_id=parent.id if parent else None,
        parent_part=parent.part if parent else None,
        parent_run_id=parent_run_id,
    )
    job = moves.begin(session, job)
    session.add_all(JobDataset(job_id=job.id, position=at, **read._asdict()) for at, read in enumerate(reads))
    session.add_all(JobModel(job_id=job.id, role=role, **grant.model_dump()) for role, grant in (models or {}).items())
    session.flush()
    return job


def get(session: Session, job_id: str) -> Job:
    """Raises JobNotFound."""
    return _there(repository.find(session, job_id) if is_id(job_id) else None, job_id)


def locked(session: Session, job_id: str) -> Job:
    """The job, its row locked until the transaction ends. Raises JobNotFound."""
    return _there(repository.locked(session, job_id) if is_id(job_id) else None, job_id)


def _there(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise JobNotFound(f"There is no job {job_id!r}.")
    return job


def cancel(session: Session, job_id: str) -> Job:
    """Stop a job: at once while it is queued; its worker is asked to stop while it runs. Again is no error."""
    job = locked(session, job_id)
    try:
        after = job.standing.cancelled()
    except IllegalMove as exc:
        raise JobNotCancellable(f"The job {job_id} has already {exc.state}.", state=exc.state) from exc
    return moves.apply(session, job, [after])


def retry(session: Session, job_id: str, *, from_checkpoint: bool = True) -> Job:
    """Queue a failed or cancelled job once more, from its last checkpoint unless told otherwise."""
    job = locked(session, job_id)
    try:
        after = job.standing.retried()
    except IllegalMove as exc:
        raise JobNotRetryable(f"The job {job_id} is {exc.state}.", state=exc.state) from exc
    anew = {} if from_checkpoint else {"checkpoint": None, "progress": None}
    return moves.apply(session, job, [after], started_at=None, result={}, outputs=[], **anew)


def fail(session: Session, job_id: str, error: JobError) -> Job:
    """Fail a job that cannot go on; its worker, if any, learns it from its next report. A final job stays as it is."""
    job = locked(session, job_id)
    if job.state.is_final:
        return job
    return moves.apply(session, job, [job.standing.doomed(error)])


def active_job_ids(session: Session, dataset_id: str) -> list[str]:
    """Jobs that are not final and read or import the dataset."""
    reading = repository.active_on_dataset(session, dataset_id)
    return sorted({job.id for job in (*reading, *repository.active_imports_of(session, dataset_id))})


def fail_jobs_of_dataset(session: Session, dataset_id: str, dataset_name: str) -> list[str]:
    """Fail all active jobs of a dataset that is being deleted by force; returns their ids. Call it in that transaction."""
    ids = active_job_ids(session, dataset_id)
    for job_id in ids:
        fail(session, job_id, dataset_gone(dataset_name))
    return ids


def dataset_gone(dataset_name: str) -> JobError:
    """Why a job without its dataset failed."""
    return JobError(
        type="dataset_gone",
        message=f"The dataset {dataset_name!r} was deleted.",
        hint="register the dataset again and submit a new job that names it",
    )


def output_ready(session: Session, job_id: str, output: JobOutput) -> Job:
    """Record an output that came after the job's end, such as a registered version, and tell its readers.

    Replaces the output of the same name. Idempotent: an equal output is stored and told once.
    """
    job = locked(session, job_id)
    new = output.model_dump(mode="json")
    if new in job.outputs:
        return job
    job.outputs = [*(old for old in job.outputs if old["name"] != output.name), new]
    session.flush()
    hooks.job_changed(session, job)
    return moves.note(session, job_id, [NewEvent(EventType.OUTPUT, new)])
