"""One replica at a time does a piece of periodic work: a lease row in the database, by the database's clock."""

import uuid
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.jobs.jobs.models import ServiceLease
from shared.kit.database import db_now

REPLICA: Final = uuid.uuid4().hex
"""Names this process."""


class Tick(NamedTuple):
    """A turn: ``now`` by the database, and how long ago the last turn of any replica was; None for the first ever."""

    now: datetime
    gap: timedelta | None


def take(session: Session, name: str, *, ttl: timedelta, holder: str = REPLICA) -> Tick | None:
    """A turn at the work ``name`` for ``ttl``, or None while another replica holds it."""
    row = session.scalar(select(ServiceLease).where(ServiceLease.name == name).with_for_update())
    now = db_now(session)
    if row is None:
        return _first(session, ServiceLease(name=name, holder=holder, expires_at=now + ttl, ticked_at=now))
    if row.holder != holder and row.expires_at > now:
        return None
    gap = now - row.ticked_at
    row.holder, row.expires_at, row.ticked_at = holder, now + ttl, now
    session.flush()
    return Tick(now, gap)


def _first(session: Session, row: ServiceLease) -> Tick | None:
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError:
        return None  # another replica was first
    return Tick(row.ticked_at, None)
