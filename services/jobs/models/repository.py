"""Every statement on the tables of models."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from services.jobs.jobs import repository as jobs
from services.jobs.jobs.models import Job, JobModel
from services.jobs.models.models import ModelVersion, RegistrationState
from shared.contracts.jobs import JobKind, JobState

_GONE = (RegistrationState.DELETED, RegistrationState.FAILED)


def take_due(session: Session, now: datetime, hold: timedelta) -> ModelVersion | None:
    """A pending row that is due, now the caller's for ``hold``; rows that others are taking are left to them."""
    due = select(ModelVersion).where(ModelVersion.state == RegistrationState.PENDING, ModelVersion.next_attempt_at <= now)
    row = session.scalar(due.order_by(ModelVersion.next_attempt_at).limit(1).with_for_update(skip_locked=True))
    if row is not None:
        row.attempts += 1
        row.next_attempt_at = now + hold
        session.flush()
    return row


def locked(session: Session, row_id: str) -> ModelVersion:
    """A row by its id, locked until the transaction ends."""
    query = select(ModelVersion).where(ModelVersion.id == row_id).with_for_update()
    return session.scalars(query.execution_options(populate_existing=True)).one()


def locked_version(session: Session, name: str, version: int) -> ModelVersion | None:
    """The row of a registered version, locked; None for one that did not come from a job."""
    query = select(ModelVersion).where(ModelVersion.name == name, ModelVersion.version == version).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def by_version(session: Session, name: str, versions: Iterable[int]) -> dict[int, ModelVersion]:
    """The rows of these versions, by number."""
    query = select(ModelVersion).where(ModelVersion.name == name, ModelVersion.version.in_(list(versions)))
    return {row.version: row for row in session.scalars(query) if row.version is not None}


def parents_of(session: Session, job_ids: Iterable[str]) -> dict[str, list[str]]:
    """What these jobs' versions came from, each once: ids of datasets, then `name/version` of models."""
    ids, found = list(job_ids), dict[str, dict[str, None]]()
    for read in sorted(jobs.reads_of(session, ids), key=lambda read: read.dataset_id):
        found.setdefault(read.job_id, {})[read.dataset_id] = None
    for model in sorted(jobs.models_of(session, ids), key=lambda model: (model.name, model.version)):
        found.setdefault(model.job_id, {})[f"{model.name}/{model.version}"] = None
    return {job_id: list(parents) for job_id, parents in found.items()}


def children_of(session: Session, name: str, version: int) -> Sequence[ModelVersion]:
    """Versions that were made from this one, pending ones included."""
    query = select(ModelVersion).where(ModelVersion.job_id.in_(_readers(name, version)), ModelVersion.state.not_in(_GONE))
    return session.scalars(query.order_by(ModelVersion.id)).all()


def outputs_of(session: Session, job_id: str) -> dict[str, ModelVersion]:
    """What a job promised to register, by output: pending, registered, or failed with the reason."""
    query = select(ModelVersion).where(ModelVersion.job_id == job_id)
    return {row.output: row for row in session.scalars(query)}


def rows_of(session: Session, versions: Iterable[tuple[str, int]]) -> Sequence[ModelVersion]:
    """The rows of these versions of any models; those that did not come from a job have none."""
    query = select(ModelVersion).where(tuple_(ModelVersion.name, ModelVersion.version).in_(list(versions)))
    return session.scalars(query.order_by(ModelVersion.id)).all()


def made_by(session: Session, job_ids: Iterable[str]) -> Sequence[ModelVersion]:
    """The versions that these jobs made, deleted ones included."""
    query = select(ModelVersion).where(ModelVersion.job_id.in_(list(job_ids)), ModelVersion.version.is_not(None))
    return session.scalars(query.order_by(ModelVersion.id)).all()


def readers_of(session: Session, versions: Iterable[tuple[str, int]], limit: int) -> Sequence[Job]:
    """Jobs that read any of these versions; those that failed or were cancelled are left out.

    Those that may have made something come before those that only looked, else the newest first.
    """
    reading = select(JobModel.job_id).where(tuple_(JobModel.name, JobModel.version).in_(list(versions)))
    query = select(Job).where(Job.id.in_(reading), Job.state.in_([*jobs.ACTIVE, JobState.SUCCEEDED]))
    return session.scalars(query.order_by(Job.kind == JobKind.EVALUATION, Job.id.desc()).limit(limit)).all()


def jobs_using(session: Session, name: str, version: int) -> Sequence[Job]:
    """Jobs that are not final and read this version, in whatever role."""
    query = select(Job).where(Job.id.in_(_readers(name, version)), Job.state.in_(jobs.ACTIVE))
    return session.scalars(query.order_by(Job.id)).all()


def _readers(name: str, version: int) -> Select[str]:
    return select(JobModel.job_id).where(JobModel.name == name, JobModel.version == version)
