"""A job's events as a stream: always out of the database, so that nothing is lost with Redis."""

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC
from typing import NamedTuple

from sqlalchemy.orm import Session, sessionmaker
from sse_starlette import ServerSentEvent
from starlette.concurrency import run_in_threadpool

from services.jobs.jobs import repository
from services.jobs.jobs.models import JobEventRow
from services.jobs.runtime import Services
from shared.contracts.jobs import JobEvent
from shared.kit.database import begin_reading

BATCH = 500


class Batch(NamedTuple):
    """Some events in order. ``over``: the job is final and these are its last."""

    events: Sequence[JobEventRow]
    over: bool


def read(sessions: sessionmaker[Session], job_id: str, after: int) -> Batch:
    """The next events above ``after``."""
    with sessions.begin() as session:
        begin_reading(session)
        # The job first: events are committed together with its counter, so none up to `last_seq` can be missing below.
        job = repository.find(session, job_id)
        if job is None:
            return Batch([], over=True)
        events = repository.events_after(session, job_id, after, BATCH)
        reached = events[-1].seq if events else after
        return Batch(events, over=job.state.is_final and reached >= job.last_seq)


async def stream(services: Services, job_id: str, after: int) -> AsyncIterator[ServerSentEvent]:
    """Events above ``after`` as they come, until the one that ends the job, or until the service stops."""
    with services.wakeups.following(job_id) as waiter:
        while not services.stopping.is_set():
            batch = await run_in_threadpool(read, services.sessions, job_id, after)
            for event in batch.events:
                after = event.seq
                yield _rendered(event)
            if batch.over:
                return
            if not batch.events:
                await waiter.wait(services.wakeups.patience_s)


def _rendered(row: JobEventRow) -> ServerSentEvent:
    event = JobEvent.model_validate(row)
    return ServerSentEvent(id=str(event.seq), event=event.type.value, data=event.model_dump_json(), sep="\n")


def log_text(sessions: sessionmaker[Session], job_id: str) -> Iterator[str]:
    """All log lines so far, one per line: time in UTC, level, message."""
    after = 0
    while lines := _lines(sessions, job_id, after):
        after = lines[-1].seq
        yield "".join(f"{row.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ} {_told(row)}\n" for row in lines)


def _told(row: JobEventRow) -> str:
    return f"{str(row.payload['level']).upper():7} {row.payload['message']}"


def _lines(sessions: sessionmaker[Session], job_id: str, after: int) -> Sequence[JobEventRow]:
    with sessions.begin() as session:
        begin_reading(session)
        return repository.logs_after(session, job_id, after, BATCH)
