"""Periodic work on jobs: lost leases, messages that were lost, old events. Any number of replicas may run it."""

from datetime import timedelta
from typing import Final

import structlog
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy.orm import Session, sessionmaker

from services.jobs.jobs import leases, moves, repository, signals
from services.jobs.jobs.repository import NewEvent
from services.jobs.runtime import Services
from shared.contracts.jobs import EventType
from shared.kit.database import begin_reading, db_now

log = structlog.get_logger(__name__)

LEASE_NAME: Final = "jobs.sweep"
BATCH: Final = 200
"""Rows per transaction and tick: the next tick takes the rest."""
RETENTION_BATCH: Final = 400
MARKER: Final = "picofleet:broker"
"""Redis key that holds the server's run id: absent or different after Redis was emptied, restarted or replaced."""


def sweep(services: Services) -> None:
    """One tick: declare holders lost, send messages again. Does nothing while another replica sweeps."""
    settings = services.settings
    every, lease = timedelta(seconds=settings.sweep_s), timedelta(seconds=settings.lease_s)
    if not take_turn(services.sessions, every=every, lease=lease):
        return
    expire_leases(services.sessions)
    resend_all_if_broker_is_new(services.sessions, services.redis)
    resend_due(services.sessions)


def take_turn(sessions: sessionmaker[Session], *, every: timedelta, lease: timedelta, holder: str = leases.REPLICA) -> bool:
    """True if it is this replica's turn. After an outage of the service itself every holder gets one full lease."""
    with sessions.begin() as session:
        tick = leases.take(session, LEASE_NAME, ttl=2 * every, holder=holder)
        if tick is None:
            return False
        if tick.gap is None or tick.gap > _outage(every, lease):
            repository.extend_leases(session, tick.now + lease)
            log.info("jobs.sweep_resumed", gap_s=tick.gap.total_seconds() if tick.gap else None)
        return True


def _outage(every: timedelta, lease: timedelta) -> timedelta:
    """A gap between ticks that means that workers could not reach us either: never a mere late tick."""
    return max(2 * every, min(4 * every, lease))


def expire_leases(sessions: sessionmaker[Session]) -> int:
    """Declare the holders of expired leases lost, each in a transaction of its own; returns how many were."""
    with sessions.begin() as session:
        begin_reading(session)
        ids = repository.expired_ids(session, db_now(session), BATCH)
    return sum(_expire(sessions, job_id) for job_id in ids)


def _expire(sessions: sessionmaker[Session], job_id: str) -> bool:
    with sessions.begin() as session:
        job = repository.locked(session, job_id)
        # The holder may have been heard of since the list was made.
        if job is None or job.lease_until is None or job.lease_until >= db_now(session):
            return False
        steps = job.standing.expired()
        line = f"nothing was heard of {job.worker} for the length of its lease; attempt {job.attempt} is {steps[0].state}"
        log.warning("jobs.lease_expired", job_id=job_id, worker=job.worker, attempt=job.attempt, state=steps[-1].state)
        job = moves.note(session, job_id, [NewEvent(EventType.LOG, {"level": "warning", "message": line})])
        moves.apply(session, job, steps)
        return True


def resend_due(sessions: sessionmaker[Session]) -> int:
    """Send the messages of jobs that stayed queued once more, at growing intervals; returns how many."""
    with sessions.begin() as session:
        now = db_now(session)
        due = repository.due_for_dispatch(session, now, BATCH)
        for job in due:
            job.dispatches += 1
            job.next_dispatch_at = now + moves.redispatch_interval(job.dispatches)
            signals.of(session).dispatched[job.id] = job.kind.value
        return len(due)


def resend_all_if_broker_is_new(sessions: sessionmaker[Session], redis: Redis) -> bool:
    """After Redis was emptied or replaced, all queued jobs are due at once, however long their interval had grown."""
    try:
        run_id = str(redis.info("server")["run_id"])
        if _marked(redis) == run_id:
            return False
        with sessions.begin() as session:
            repository.make_all_due(session, db_now(session))
        redis.set(MARKER, run_id)
    except RedisError as exc:
        log.debug("jobs.broker_away", error=str(exc))
        return False
    log.info("jobs.broker_new", run_id=run_id)
    return True


def _marked(redis: Redis) -> str | None:
    value = redis.get(MARKER)
    return value.decode() if isinstance(value, bytes) else value


def forget_old_progress(services: Services) -> None:
    """Delete progress events that are older than the retention, in small transactions. States and logs are kept."""
    kept = timedelta(days=services.settings.event_retention_days)
    while not services.stopping.is_set():
        with services.sessions.begin() as session:
            if repository.delete_progress_before(session, db_now(session) - kept, RETENTION_BATCH) == 0:
                return
