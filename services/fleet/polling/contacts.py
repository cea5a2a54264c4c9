"""Writing down who was heard of: in batches, so that polls that find nothing to do write nothing."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import func, literal, select, update
from sqlalchemy.orm import Session

from services.fleet.polling.models import Contact
from services.fleet.runtime import Services
from shared.kit.database import Json, now_expression

BATCH: Final = 1000
"""Cameras of one UPDATE and transaction."""


def write_heard(services: Services) -> int:
    """Write what the memory took note of; how many cameras. What cannot be written is kept for the next time."""
    heard = services.polls.take_heard()
    waiting = sorted(heard)
    written: set[str] = set()
    try:
        for first in range(0, len(waiting), BATCH):
            batch = waiting[first : first + BATCH]
            with services.sessions.begin() as session:
                _write(session, batch, heard)
            written.update(batch)
    finally:
        services.polls.give_back(heard, but=written)
    return len(written)


def _write(session: Session, camera_ids: Sequence[str], addresses: Mapping[str, str]) -> None:
    """One statement. A camera that another replica writes at this moment is left to it, so none waits for another."""
    # One parameter for all: a CASE of a thousand branches kept the process busy for 25 ms, and Postgres for as long.
    each = func.json_each if session.get_bind().dialect.name == "sqlite" else func.jsonb_each_text
    told = each(literal({camera_id: addresses[camera_id] for camera_id in camera_ids}, Json)).table_valued("key", "value")
    mine = select(Contact.camera_id).where(Contact.camera_id.in_(select(told.c.key).correlate(None)))
    mine = mine.order_by(Contact.camera_id).with_for_update(skip_locked=True)
    session.execute(
        update(Contact)
        .where(Contact.camera_id == told.c.key, Contact.camera_id.in_(mine))
        .values(seen_at=now_expression(), address=told.c.value),
        execution_options={"synchronize_session": False},
    )
