"""Every statement on the tables of cameras and of what lets them in."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.orm import Session

from services.fleet.actions.domain import UNDER_WAY
from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.cameras.selecting import conditions
from services.fleet.cameras.selector import Selector
from services.fleet.packages.models import Package
from services.fleet.polling.models import Contact
from services.fleet.rollouts.models import Rollout
from shared.contracts.rollouts import RolloutState

OPEN = tuple(state.value for state in UNDER_WAY)
"""States of actions of which something is still to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which cameras are wanted; None: any."""

    selectors: Sequence[Selector]
    controller_id: str | None = None
    prefix: str | None = None
    """Of the controller id."""
    health: str | None = None
    package: tuple[str, str] | None = None
    """Name and version of the one that they run."""
    unseen_since: datetime | None = None
    """Not heard of from then on, or never."""


def find(session: Session, camera_id: str) -> Camera | None:
    """A camera, deleted or not."""
    return session.get(Camera, camera_id)


def locked(session: Session, camera_ids: Iterable[str]) -> dict[str, Camera]:
    """Those of these cameras that are there, deleted or not, by id. Until the transaction ends nobody else changes them."""
    query = select(Camera).where(Camera.id.in_(list(camera_ids))).order_by(Camera.id)
    # key_share: a new action may refer to the camera meanwhile.
    rows = session.scalars(query.with_for_update(key_share=True).execution_options(populate_existing=True))
    return {camera.id: camera for camera in rows}


def filtered(filters: Filters) -> Select[Camera]:
    """The query of the cameras that are there and fit."""
    return select(Camera).where(Camera.deleted_at.is_(None), *_wanted(filters))


def _wanted(filters: Filters) -> Iterable[ColumnElement[bool]]:
    for selector in filters.selectors:
        yield from conditions(selector)
    if filters.controller_id is not None:
        yield Camera.controller_id == filters.controller_id
    if filters.prefix is not None:
        # Not LIKE: SQLite's does not tell A from a.
        yield func.substr(Camera.controller_id, 1, len(filters.prefix)) == filters.prefix
    if filters.health is not None:
        yield Camera.health == filters.health
    if filters.package is not None:
        name, version = filters.package
        packages = select(Package.id).where(Package.name == name, Package.version == version)
        yield Camera.current_package_id.in_(packages)
    if filters.unseen_since is not None:
        heard = select(Contact.camera_id).where(Contact.seen_at >= filters.unseen_since)
        yield Camera.id.not_in(heard)


def set_labels(session: Session, camera: Camera, labels: Mapping[str, str]) -> None:
    """Replace all labels of a locked camera, in both places where they are kept."""
    camera.labels = dict(labels)
    session.execute(delete(CameraLabel).where(CameraLabel.camera_id == camera.id))
    if labels:
        rows = [{"camera_id": camera.id, "key": key, "value": value} for key, value in labels.items()]
        session.execute(insert(CameraLabel), rows)
    session.flush()


def seen(session: Session, camera_ids: Sequence[str]) -> dict[str, datetime | None]:
    """When these cameras were heard of, by id."""
    query = select(Contact.camera_id, Contact.seen_at).where(Contact.camera_id.in_(camera_ids))
    return {camera_id: seen_at for camera_id, seen_at in session.execute(query)}


def refs(session: Session, package_ids: Iterable[str | None]) -> dict[str, str]:
    """How these packages are called, by id; deleted ones too."""
    wanted = [package_id for package_id in set(package_ids) if package_id is not None]
    packages = session.scalars(select(Package).where(Package.id.in_(wanted)))
    return {package.id: package.ref for package in packages}


def active(session: Session, camera_ids: Sequence[str]) -> dict[str, Action]:
    """The action that each of these cameras is at now, by camera id."""
    actions = session.scalars(select(Action).where(Action.active, Action.camera_id.in_(camera_ids)))
    return {action.camera_id: action for action in actions}


def open_actions(session: Session, camera_id: str) -> list[Action]:
    """All actions of a camera of which something is still to come, released or not."""
    query = select(Action).where(Action.camera_id == camera_id, Action.state.in_(OPEN)).order_by(Action.id)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def open_rollouts_locked(session: Session, rollout_ids: Iterable[str | None]) -> set[str]:
    """Those of these rollouts that still bring their package to cameras. No tick touches them until the transaction ends."""
    wanted = {rollout_id for rollout_id in rollout_ids if rollout_id is not None}
    query = select(Rollout).where(Rollout.id.in_(wanted)).order_by(Rollout.id).with_for_update()
    rollouts = session.scalars(query.execution_options(populate_existing=True)).all()
    return {rollout.id for rollout in rollouts if rollout.state in {RolloutState.RUNNING, RolloutState.PAUSED}}


def rollouts_of(session: Session, camera_id: str) -> set[str]:
    """Rollouts that have an open action of the camera."""
    query = select(Action.rollout_id).where(Action.camera_id == camera_id, Action.state.in_(OPEN))
    return {rollout_id for rollout_id in session.scalars(query) if rollout_id is not None}


def takes_part(session: Session, camera_id: str) -> set[str]:
    """Rollouts that have any action of the camera."""
    query = select(Action.rollout_id).where(Action.camera_id == camera_id)
    return {rollout_id for rollout_id in session.scalars(query) if rollout_id is not None}


def leave_phase(session: Session, action_ids: Sequence[int]) -> None:
    """Count these actions in no phase any more: others have their places."""
    left = update(Action).where(Action.id.in_(action_ids)).values(phase=None)
    session.execute(left, execution_options={"synchronize_session": False})


def left_behind(session: Session, limit: int) -> list[int]:
    """Open actions of cameras that are gone: made by a rollout at the moment in which the camera was deleted."""
    gone = select(Camera.id).where(Camera.deleted_at.is_not(None))
    query = select(Action.id).where(Action.camera_id.in_(gone), Action.state.in_(OPEN)).limit(limit)
    return list(session.scalars(query))


def count(session: Session, selector: Selector) -> int:
    """How many cameras the selector matches."""
    return session.scalar(select(func.count()).select_from(Camera).where(*conditions(selector))) or 0
