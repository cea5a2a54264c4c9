"""Statements on the tables of actions, for those who read them."""

from collections.abc import Collection, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action, ActionHistory
from shared.contracts.rollouts import ActionState
from shared.kit.pages import PageParams, decode_cursor, encode_cursor
from shared.kit.problems import InvalidRequest

LARGEST = 2**63 - 1
"""Of an id."""


def find(session: Session, action_id: int) -> Action | None:
    """As it is now, or None."""
    return session.get(Action, action_id, populate_existing=True)


def history(session: Session, action_id: int) -> Sequence[ActionHistory]:
    """Oldest first."""
    query = select(ActionHistory).where(ActionHistory.action_id == action_id).order_by(ActionHistory.id)
    return session.scalars(query).all()


def of_rollout(rollout_id: str, phase: int | None, states: Collection[ActionState]) -> Select[Action]:
    """The query of a rollout's actions."""
    query = select(Action).where(Action.rollout_id == rollout_id)
    if phase is not None:
        query = query.where(Action.phase == phase)
    return query.where(Action.state.in_([state.value for state in states])) if states else query


def of_camera(camera_id: str) -> Select[Action]:
    """The query of a camera's actions."""
    return select(Action).where(Action.camera_id == camera_id)


def page(session: Session, query: Select[Action], page: PageParams) -> tuple[Sequence[Action], str | None]:
    """One page, newest first, and the next cursor."""
    if page.cursor is not None:
        query = query.where(Action.id < _id_in(page.cursor))
    rows = session.scalars(query.order_by(Action.id.desc()).limit(page.limit + 1)).all()
    shown = rows[: page.limit]
    return shown, encode_cursor(shown[-1].id) if len(rows) > page.limit else None


def _id_in(cursor: str) -> int:
    (action_id,) = decode_cursor(cursor)
    if not isinstance(action_id, int) or not 0 <= action_id <= LARGEST:
        raise InvalidRequest.of_field("query.cursor", "not a cursor of this list", "leave it out to start at the first page")
    return action_id
