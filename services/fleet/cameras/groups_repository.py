"""Every statement on the table of groups."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera, Group
from services.fleet.cameras.selecting import conditions
from services.fleet.cameras.selector import Selector
from shared.contracts.cameras import GroupIn
from shared.kit.pages import PageParams, decode_cursor, encode_cursor

_COLUMNS = ("selector", "description", "time_zone", "maintenance")


def columns(body: GroupIn) -> dict[str, Any]:
    """As the table has it."""
    return body.model_dump(mode="json", include=set(_COLUMNS))


def present(group: Group) -> dict[str, Any]:
    """The same of a group that is there."""
    return {column: getattr(group, column) for column in _COLUMNS}


def find(session: Session, name: str) -> Group | None:
    """A group by its name."""
    return session.get(Group, name)


def locked(session: Session, name: str) -> Group | None:
    """A group that nobody else changes until the transaction ends."""
    query = select(Group).where(Group.name == name).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def write(session: Session, group: Group, body: GroupIn, now: datetime) -> None:
    """Make a locked group what ``body`` says."""
    for column, value in columns(body).items():
        setattr(group, column, value)
    group.updated_at = now
    session.flush()


def page(session: Session, page: PageParams) -> tuple[Sequence[Group], str | None]:
    """Groups by name, and the next cursor."""
    query = select(Group)
    if page.cursor is not None:
        query = query.where(Group.name > str(decode_cursor(page.cursor)[0]))
    rows = session.scalars(query.order_by(Group.name).limit(page.limit + 1)).all()
    shown = rows[: page.limit]
    return shown, encode_cursor(shown[-1].name) if len(rows) > page.limit else None


def ids(session: Session, selector: Selector) -> Iterable[str]:
    """Of the cameras that the selector matches."""
    return session.scalars(select(Camera.id).where(*conditions(selector)))
