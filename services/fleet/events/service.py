"""What users read of events."""

from sqlalchemy.orm import Session

from services.fleet.events import repository, views
from services.fleet.events.repository import Filters
from shared.contracts.rollouts import FleetEvent
from shared.kit.pages import PageParams, decode_cursor, encode_cursor
from shared.kit.problems import InvalidRequest

LAST_SEQ = 2**53
"""No event has a higher one; JavaScript's numbers end there too."""


def page(session: Session, filters: Filters, page: PageParams) -> tuple[list[FleetEvent], str | None]:
    """Events, newest first."""
    before = None if page.cursor is None else _seq(page.cursor)
    rows = repository.page(session, filters, before, page.limit + 1)
    shown = rows[: page.limit]
    following = encode_cursor(shown[-1].seq) if len(rows) > page.limit else None
    return [views.one(row) for row in shown], following


def _seq(cursor: str) -> int:
    (seq,) = decode_cursor(cursor)
    if not isinstance(seq, int) or not 0 <= seq <= LAST_SEQ:
        raise InvalidRequest.of_field("query.cursor", "not a cursor of this list", "leave it out to start at the first page")
    return seq
