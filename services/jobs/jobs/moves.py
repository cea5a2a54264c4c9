"""Carries the rules' moves into the database: one guarded update, one event and the follow-ups per move."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.orm import Session

from services.jobs.jobs import effects, repository, signals
from services.jobs.jobs.domain import Standing
from services.jobs.jobs.errors import JobChanged
from services.jobs.jobs.models import Job
from services.jobs.jobs.repository import NewEvent
from shared.contracts.jobs import EventType, JobState
from shared.kit.database import db_now

FIRST_REDISPATCH: Final = timedelta(seconds=5)
"""A queued job's message is sent again after this time, then after twice as long, and so on."""
LONGEST_REDISPATCH: Final = timedelta(seconds=300)


def redispatch_interval(dispatches: int) -> timedelta:
    """How long to wait before a queued job's message is sent once more: 5, 10, 20 ... 300 s."""
    return min(FIRST_REDISPATCH * (1 << min(dispatches, 16)), LONGEST_REDISPATCH)


def apply(session: Session, job: Job, steps: Sequence[Standing], **values: Any) -> Job:
    """Take ``job`` through ``steps``, each in its own guarded update. JobChanged if it stands elsewhere by now.

    ``values`` are further columns of the last step. A step that changes nothing is left out.
    """
    now = db_now(session)
    for number, after in enumerate(steps, start=1):
        before = job.standing
        if after == before:
            continue
        extra = values if number == len(steps) else {}
        columns = {"updated_at": now} | _columns(job, after.state, now) | extra
        worker = columns.get("worker", job.worker) or job.worker
        moved = repository.move(session, before, job.id, after, _event(after, worker), **columns)
        if moved is None:
            raise JobChanged(f"The job {job.id} is no longer {before.state}.")
        job = moved
        _signal(session, job)
        effects.after_move(session, job)
    return job


def _columns(job: Job, state: JobState, now: datetime) -> dict[str, Any]:
    match state:
        case JobState.QUEUED:
            return _queued(now) | {"worker": None, "lease_until": None, "finished_at": None}
        case JobState.RUNNING:
            return {"started_at": job.started_at or now, "last_report_no": 0, "next_dispatch_at": None}
        case JobState.CANCELLING | JobState.LOST:
            return {}
        case JobState.SUCCEEDED | JobState.FAILED | JobState.CANCELLED:
            return {"finished_at": now, "lease_until": None, "next_dispatch_at": None}


def _queued(now: datetime) -> dict[str, Any]:
    return {"dispatches": 0, "next_dispatch_at": now + redispatch_interval(0)}


def _event(after: Standing, worker: str | None) -> NewEvent:
    payload: dict[str, Any] = {"state": after.state.value, "attempt": after.attempt}
    if worker is not None and after.state is not JobState.QUEUED:
        payload["worker"] = worker
    if after.error is not None:
        payload["error"] = after.error.model_dump(mode="json")
    return NewEvent(EventType.STATE, payload)


def _signal(session: Session, job: Job) -> None:
    told = signals.of(session)
    told.changed.add(job.id)
    if job.state is JobState.QUEUED:
        told.dispatched[job.id] = job.kind.value
    else:
        told.dispatched.pop(job.id, None)


def begin(session: Session, job: Job) -> Job:
    """Store a new job as queued, with its first event and its dispatch after the commit."""
    now = db_now(session)
    job.created_at = job.updated_at = now
    job.next_dispatch_at = now + redispatch_interval(0)
    session.add(job)
    session.flush()
    repository.append(session, job.id, [_event(job.standing, None)], now)
    _signal(session, job)
    return job


def note(session: Session, job_id: str, events: Sequence[NewEvent]) -> Job:
    """Append events to a job, and wake its readers after the commit."""
    signals.of(session).changed.add(job_id)
    return repository.append(session, job_id, events, db_now(session))
