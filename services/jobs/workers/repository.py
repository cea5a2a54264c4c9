"""Every statement on workers."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from services.jobs.workers.models import Worker


def upsert(session: Session, name: str, now: datetime, **values: Any) -> None:
    """Store what a worker says of itself; two hellos at the same time are fine."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    seen = values | {"last_seen_at": now}
    new = dialect.insert(Worker).values(name=name, first_seen_at=now, **seen)
    session.execute(new.on_conflict_do_update(index_elements=["name"], set_=seen))


def seen_since(session: Session, since: datetime) -> Sequence[Worker]:
    """Workers heard of since then, by name."""
    return session.scalars(select(Worker).where(Worker.last_seen_at >= since).order_by(Worker.name)).all()


def forget_before(session: Session, cutoff: datetime) -> None:
    """Delete workers that were not heard of since ``cutoff``."""
    session.execute(delete(Worker).where(Worker.last_seen_at < cutoff))
