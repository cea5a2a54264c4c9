"""Who is there to do the work."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from services.jobs.jobs import repository as jobs
from services.jobs.runtime import Services
from services.jobs.workers import repository
from services.jobs.workers.models import Worker
from shared.contracts.worker import WorkerHello, WorkerOut
from shared.kit.database import db_now

REMEMBERED: Final = timedelta(days=7)
"""Workers that were not heard of for this long are left out of the list and deleted."""


def hello(session: Session, body: WorkerHello) -> None:
    """Note that a worker is there."""
    told = body.model_dump(mode="json")
    repository.upsert(session, told.pop("worker"), db_now(session), **told)


def known(session: Session, services: Services) -> list[WorkerOut]:
    """All workers of the last days, by name, with the jobs that they hold."""
    now = db_now(session)
    fresh = now - timedelta(seconds=services.settings.worker_alive_s)
    held = _held(session)
    return [_shown(worker, fresh, held[worker.name]) for worker in repository.seen_since(session, now - REMEMBERED)]


def alive(session: Session, services: Services) -> list[WorkerOut]:
    """Only those that were heard of just now."""
    return [worker for worker in known(session, services) if worker.alive]


def _held(session: Session) -> defaultdict[str, list[str]]:
    held: defaultdict[str, list[str]] = defaultdict(list)
    for job in jobs.held(session):
        held[job.worker or ""].append(job.id)
    return held


def _shown(worker: Worker, fresh: datetime, held: list[str]) -> WorkerOut:
    told = {name: getattr(worker, name) for name in ("queues", "slots", "busy", "host", "device", "versions")}
    seen = {"first_seen_at": worker.first_seen_at, "last_seen_at": worker.last_seen_at}
    return WorkerOut(worker=worker.name, alive=worker.last_seen_at >= fresh, jobs=held, **told, **seen)


def forget_old(services: Services) -> None:
    """Delete workers that were not heard of for days."""
    with services.sessions.begin() as session:
        repository.forget_before(session, db_now(session) - REMEMBERED)
