"""Every statement on the tables of models."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job, JobDataset
from services.jobs.jobs.repository import ACTIVE
from services.jobs.models.models import LineageEdge, ModelVersion, ParentKind, RegistrationState

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


def parents_of(session: Session, row_ids: Iterable[str]) -> dict[str, list[str]]:
    """What these rows came from, datasets first."""
    query = select(LineageEdge).where(LineageEdge.version_id.in_(list(row_ids)))
    found: dict[str, list[str]] = {}
    for edge in session.scalars(query.order_by(LineageEdge.parent_kind, LineageEdge.parent)):
        found.setdefault(edge.version_id, []).append(edge.parent)
    return found


def children_of(session: Session, name: str, version: int) -> Sequence[ModelVersion]:
    """Versions that were made from this one, pending ones included."""
    edges = select(LineageEdge.version_id).where(
        LineageEdge.parent_kind == ParentKind.MODEL, LineageEdge.parent == f"{name}/{version}"
    )
    query = select(ModelVersion).where(ModelVersion.id.in_(edges), ModelVersion.state.not_in(_GONE))
    return session.scalars(query.order_by(ModelVersion.id)).all()


def jobs_using(session: Session, name: str, version: int) -> Sequence[Job]:
    """Jobs that are not final and start from this version."""
    used = Job.initial_model["name"].as_string() == name, Job.initial_model["version"].as_integer() == version
    return session.scalars(select(Job).where(Job.state.in_(ACTIVE), *used).order_by(Job.id)).all()


def datasets_read_by(session: Session, job_id: str) -> list[str]:
    """Ids of the datasets that a job reads, each once."""
    query = select(JobDataset.dataset_id).where(JobDataset.job_id == job_id).distinct().order_by(JobDataset.dataset_id)
    return list(session.scalars(query))
