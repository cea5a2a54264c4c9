"""Every statement on the table of events."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import CursorResult, Select, delete, func, select
from sqlalchemy.orm import Session

from services.fleet.events.models import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which events are wanted; None: any."""

    rollout: str | None = None
    camera: str | None = None
    type: str | None = None
    """What the type begins with."""
    audit: bool = False
    """Only what somebody did."""

    def match(self, event: Event) -> bool:
        """Whether this one is wanted."""
        return (
            (self.rollout is None or event.rollout_id == self.rollout)
            and (self.camera is None or event.camera_id == self.camera)
            and (self.type is None or event.type.startswith(self.type))
            and (not self.audit or event.actor is not None)
        )

    def query(self) -> Select[Event]:
        """Those that are wanted."""
        query = select(Event)
        if self.rollout is not None:
            query = query.where(Event.rollout_id == self.rollout)
        if self.camera is not None:
            query = query.where(Event.camera_id == self.camera)
        if self.type is not None:
            query = query.where(func.substr(Event.type, 1, len(self.type)) == self.type)
        return query.where(Event.actor.is_not(None)) if self.audit else query


def page(session: Session, filters: Filters, before: int | None, limit: int) -> Sequence[Event]:
    """Up to ``limit`` events below ``before``, newest first."""
    query = filters.query() if before is None else filters.query().where(Event.seq < before)
    return session.scalars(query.order_by(Event.seq.desc()).limit(limit)).all()


def after(session: Session, seq: int, limit: int) -> Sequence[Event]:
    """Up to ``limit`` events above ``seq``, in order."""
    return session.scalars(select(Event).where(Event.seq > seq).order_by(Event.seq).limit(limit)).all()


def last_before(session: Session, moment: datetime) -> int:
    """The seq below the first event since ``moment``; of the last event if there is none since; 0 without any."""
    first = session.scalar(select(func.min(Event.seq)).where(Event.at >= moment))
    return first - 1 if first is not None else newest(session)


def newest(session: Session) -> int:
    """The seq of the last event; 0 if there is none."""
    return session.scalar(select(func.max(Event.seq))) or 0


def forget(session: Session, before: datetime, limit: int) -> int:
    """Delete up to ``limit`` events that are no one's deed and older than ``before``; how many.

    The last one stays, whatever its age: SQLite gives the seq of a deleted last row once more.
    """
    old = select(Event.seq).where(Event.at < before, Event.actor.is_(None), Event.seq < newest(session)).limit(limit)
    result = session.execute(delete(Event).where(Event.seq.in_(old)), execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult)
    return result.rowcount
