"""Every statement on the tables of jobs."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from services.jobs.jobs.domain import HELD, Standing
from services.jobs.jobs.models import Job, JobDataset, JobEventRow, JobModel
from shared.contracts.base import Digest
from shared.contracts.jobs import EventType, JobKind, JobState

ACTIVE = frozenset({JobState.QUEUED, JobState.LOST}) | HELD
PARENT_KINDS = ("pipeline", "sweep")
_FRESH = {"synchronize_session": False, "populate_existing": True}


class NewEvent(NamedTuple):
    """An event before it has its number."""

    type: EventType
    payload: dict[str, Any]


def find(session: Session, job_id: str) -> Job | None:
    """The job, or None."""
    return session.get(Job, job_id)


def locked(session: Session, job_id: str) -> Job | None:
    """The job with its row locked until the transaction ends (SQLite: the transaction holds the write lock anyway)."""
    return session.scalar(select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True))


def move(session: Session, before: Standing, job_id: str, after: Standing, event: NewEvent, **values: Any) -> Job | None:
    """One state change with its event, if the job still stands as ``before``; None, and nothing done, if it does not."""
    changed = session.scalars(
        update(Job)
        .where(Job.id == job_id, Job.state == before.state, Job.attempt == before.attempt)
        .values(
            state=after.state,
            attempt=after.attempt,
            lost_attempts=after.lost_attempts,
            error=after.error.model_dump(mode="json") if after.error else None,
            last_seq=Job.last_seq + 1,
            **values,
        )
        .returning(Job)
        .execution_options(**_FRESH)
    ).one_or_none()
    if changed is not None:
        _store(session, job_id, changed.last_seq, [event], values["updated_at"])
    return changed


def append(session: Session, job_id: str, events: Sequence[NewEvent], now: datetime) -> Job:
    """Number and store ``events``. The counter's row lock keeps the numbers without gaps."""
    counted = update(Job).where(Job.id == job_id).values(last_seq=Job.last_seq + len(events), updated_at=now)
    job = session.scalars(counted.returning(Job).execution_options(**_FRESH)).one()
    _store(session, job_id, job.last_seq - len(events) + 1, events, now)
    return job


def _store(session: Session, job_id: str, first: int, events: Sequence[NewEvent], now: datetime) -> None:
    rows = [
        {"job_id": job_id, "seq": first + offset, "type": event.type, "at": now, "payload": event.payload}
        for offset, event in enumerate(events)
    ]
    if rows:
        session.execute(insert(JobEventRow), rows)


def renew(session: Session, job_id: str, token: int, now: datetime, lease: timedelta) -> Job | None:
    """Extend the lease of the claim ``token``; None if that claim is over."""
    held = update(Job).where(Job.id == job_id, Job.attempt == token, Job.state.in_(HELD))
    renewed = held.values(lease_until=now + lease).returning(Job).execution_options(**_FRESH)
    return session.scalars(renewed).one_or_none()


def events_after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[JobEventRow]:
    """Up to ``limit`` events with a number above ``seq``, in order."""
    rows = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.seq > seq)
    return session.scalars(rows.order_by(JobEventRow.seq).limit(limit)).all()


def logs_after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[JobEventRow]:
    """The same, of log lines only."""
    rows = select(JobEventRow).where(JobEventRow.job_id == job_id, JobEventRow.seq > seq, JobEventRow.type == EventType.LOG)
    return session.scalars(rows.order_by(JobEventRow.seq).limit(limit)).all()


def reads_of(session: Session, job_ids: Iterable[str]) -> Sequence[JobDataset]:
    """The splits that the jobs read, by job and position."""
    rows = select(JobDataset).where(JobDataset.job_id.in_(list(job_ids)))
    return session.scalars(rows.order_by(JobDataset.job_id, JobDataset.position)).all()


def models_of(session: Session, job_ids: Iterable[str]) -> Sequence[JobModel]:
    """The registered versions that the jobs read, by job and role."""
    rows = select(JobModel).where(JobModel.job_id.in_(list(job_ids)))
    return session.scalars(rows.order_by(JobModel.job_id, JobModel.role)).all()


def active_on_dataset(session: Session, dataset_id: str) -> Sequence[Job]:
    """Jobs that are not final and read the dataset, in order of their ids, which is the order to lock them in."""
    reading = select(JobDataset.job_id).where(JobDataset.dataset_id == dataset_id)
    return session.scalars(select(Job).where(Job.id.in_(reading), Job.state.in_(ACTIVE)).order_by(Job.id)).all()


def active_imports_of(session: Session, dataset_id: str) -> Sequence[Job]:
    """Import jobs of the dataset that are not final."""
    imports = select(Job).where(Job.kind == JobKind.DATASET_IMPORT, Job.state.in_(ACTIVE))
    return [job for job in session.scalars(imports.order_by(Job.id)) if job.spec["dataset_id"] == dataset_id]


class Filters(NamedTuple):
    """What `GET /v1/jobs` may be narrowed to; empty means all."""

    kind: Sequence[JobKind] = ()
    state: Sequence[JobState] = ()
    owner: str | None = None
    name: str | None = None
    tags: Sequence[tuple[str, str]] = ()
    dataset_id: str | None = None
    parent_id: str | None = None


def filtered(filters: Filters) -> Select[Job]:
    """The query of the jobs that match all filters."""
    query = select(Job)
    if filters.kind:
        query = query.where(Job.kind.in_(filters.kind))
    if filters.state:
        query = query.where(Job.state.in_(filters.state))
    if filters.owner is not None:
        query = query.where(Job.owner == filters.owner)
    if filters.name is not None:
        query = query.where(Job.name == filters.name)
    for key, value in filters.tags:
        query = query.where(Job.tags[key].as_string() == value)
    if filters.parent_id is not None:
        # The kinds are named because the index begins with them.
        query = query.where(Job.parent_kind.in_(PARENT_KINDS), Job.parent_id == filters.parent_id)
    if filters.dataset_id is not None:
        query = query.where(Job.id.in_(select(JobDataset.job_id).where(JobDataset.dataset_id == filters.dataset_id)))
    return query


def held(session: Session) -> Sequence[Job]:
    """Jobs that a worker holds."""
    return session.scalars(select(Job).where(Job.state.in_(HELD)).order_by(Job.id)).all()


def expired_ids(session: Session, now: datetime, limit: int) -> Sequence[str]:
    """Jobs whose lease has run out."""
    query = select(Job.id).where(Job.state.in_(HELD), Job.lease_until < now)
    return session.scalars(query.order_by(Job.lease_until).limit(limit)).all()


def extend_leases(session: Session, until: datetime) -> None:
    """Give every holder time until ``until``, at least."""
    _update_in_order(session, (Job.state.in_(HELD), Job.lease_until < until), lease_until=until)


def make_all_due(session: Session, now: datetime) -> None:
    """Every queued job's message is due now, and the intervals start anew."""
    _update_in_order(session, (Job.state == JobState.QUEUED,), next_dispatch_at=now, dispatches=0)


def _update_in_order(session: Session, which: Sequence[ColumnElement[bool]], **values: Any) -> None:
    """Update many jobs, locked in order of their ids: transactions that lock several cannot deadlock."""
    ids = session.scalars(select(Job.id).where(*which).order_by(Job.id).with_for_update()).all()
    for start in range(0, len(ids), 500):
        some = update(Job).where(Job.id.in_(ids[start : start + 500]))
        session.execute(some.values(**values).execution_options(synchronize_session=False))


def due_for_dispatch(session: Session, now: datetime, limit: int) -> Sequence[Job]:
    """Queued jobs whose message is due again, locked; rows that others hold are left to them."""
    query = select(Job).where(Job.state == JobState.QUEUED, Job.next_dispatch_at <= now)
    return session.scalars(query.order_by(Job.id).limit(limit).with_for_update(skip_locked=True)).all()


def delete_progress_before(session: Session, cutoff: datetime, limit: int) -> int:
    """Delete up to ``limit`` progress events older than ``cutoff``; returns how many."""
    old = select(JobEventRow.job_id, JobEventRow.seq).where(JobEventRow.type == EventType.PROGRESS, JobEventRow.at < cutoff)
    keys = [tuple(row) for row in session.execute(old.limit(limit))]
    if keys:
        session.execute(delete(JobEventRow).where(tuple_(JobEventRow.job_id, JobEventRow.seq).in_(keys)))
    return len(keys)


def unnamed(session: Session, checkpoint: dict[str, Any] | None) -> list[Digest]:
    """Blobs of a checkpoint that was given up and that no job's checkpoint names: equal runs have equal checkpoints."""
    if checkpoint is None:
        return []
    kept = session.scalars(select(Job.checkpoint).where(Job.checkpoint.is_not(None)))
    named = {digest for each in kept if each for digest in each["files"].values()}
    return sorted(set(checkpoint["files"].values()) - named)
