"""Queries of targets and their actions."""

from collections.abc import Collection, Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.cameras.models import Camera
from services.fleet.hawkbit.messages import Window, page_of
from services.fleet.hawkbit.models import TargetName
from services.fleet.hawkbit.targets.query import Field, Query
from services.fleet.polling.models import Contact


def find(session: Session, controller_id: str) -> Camera | None:
    """The camera of this controller id that is there."""
    return session.scalar(select(Camera).where(Camera.controller_id == controller_id, Camera.deleted_at.is_(None)))


def find_locked(session: Session, controller_id: str) -> Camera | None:
    """As ``find``; whoever else wants to change the camera waits."""
    query = select(Camera).where(Camera.controller_id == controller_id, Camera.deleted_at.is_(None))
    # key_share: a new action may refer to the camera meanwhile.
    return session.scalar(query.with_for_update(key_share=True).execution_options(populate_existing=True))


def page(session: Session, query: Query | None, window: Window) -> tuple[list[Camera], int]:
    """Cameras that are there and that the query matches."""
    rows = select(Camera).where(Camera.deleted_at.is_(None))
    if query is not None and query.field is Field.CONTROLLER_ID:
        rows = rows.where(Camera.controller_id.like(query.pattern, escape="\\"))
    elif query is not None:
        name = func.coalesce(TargetName.name, Camera.controller_id)
        rows = rows.outerjoin(TargetName, TargetName.camera_id == Camera.id).where(name.like(query.pattern, escape="\\"))
    return page_of(session, rows, Camera.id, window)


def names(session: Session, camera_ids: Collection[str]) -> Mapping[str, TargetName]:
    """By camera."""
    rows = session.scalars(select(TargetName).where(TargetName.camera_id.in_(camera_ids)))
    return {row.camera_id: row for row in rows}


def contacts(session: Session, camera_ids: Collection[str]) -> Mapping[str, Contact]:
    """By camera."""
    return {row.camera_id: row for row in session.scalars(select(Contact).where(Contact.camera_id.in_(camera_ids)))}


def newest_actions(session: Session, camera_ids: Collection[str]) -> Mapping[str, Action]:
    """Of each camera that has any, the one made last."""
    newest = select(func.max(Action.id)).where(Action.camera_id.in_(camera_ids)).group_by(Action.camera_id)
    return {row.camera_id: row for row in session.scalars(select(Action).where(Action.id.in_(newest)))}


def actions(session: Session, camera_id: str, window: Window) -> tuple[list[Action], int]:
    """Of a camera."""
    return page_of(session, select(Action).where(Action.camera_id == camera_id), Action.id, window)


def action(session: Session, camera_id: str, action_id: int) -> Action | None:
    """A camera's."""
    return session.scalar(select(Action).where(Action.camera_id == camera_id, Action.id == action_id))


def open_actions(session: Session, camera_id: str) -> list[Action]:
    """What the camera is at, and what waits for its turn by hand: not what a rollout will bring. Nobody else changes them."""
    mine = Action.active | Action.rollout_id.is_(None)
    rows = select(Action).where(Action.camera_id == camera_id, Action.closed_at.is_(None), mine)
    rows = rows.order_by(Action.id).with_for_update(key_share=True)
    return list(session.scalars(rows.execution_options(populate_existing=True)))


def history(session: Session, action_id: int, window: Window) -> tuple[list[ActionHistory], int]:
    """Of an action."""
    return page_of(session, select(ActionHistory).where(ActionHistory.action_id == action_id), ActionHistory.id, window)
