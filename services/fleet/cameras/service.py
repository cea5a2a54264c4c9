"""Decisions on cameras."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from services.fleet.actions.moves import move_all
from services.fleet.cameras import groups_service, repository, selecting
from services.fleet.cameras.errors import CameraNotFound
from services.fleet.cameras.models import Camera
from services.fleet.cameras.registering import register as add
from services.fleet.cameras.schemas import CameraFilters
from services.fleet.events.record import record
from services.fleet.polling.epochs import touch
from shared.contracts.cameras import CameraChange, CameraIn
from shared.contracts.rollouts import ActionState
from shared.kit.auth import Actor, hash_secret
from shared.kit.database import db_now
from shared.kit.pages import PageParams, newest_first


def new_token() -> str:
    """A fresh secret of a device: 256 random bits as 43 characters of base64url."""
    return secrets.token_urlsafe(32)


def register(session: Session, body: CameraIn, *, actor: Actor) -> tuple[Camera, str]:
    """The new camera and its token, which is kept nowhere. CameraExists also when two requests race."""
    token = body.token or new_token()
    camera = add(
        session,
        body.controller_id,
        labels=body.labels,
        format=body.format,
        token_hash=hash_secret(token),
        provisioned_by=None,
        by=actor,
    )
    session.refresh(camera)  # the database's clock has filled in when
    return camera, token


def get(session: Session, camera_id: str) -> Camera:
    """A camera, also one that was deleted. CameraNotFound."""
    camera = repository.find(session, camera_id)
    if camera is None:
        raise CameraNotFound(f"There is no camera with the id {camera_id!r}.")
    return camera


def page(session: Session, filters: CameraFilters, page: PageParams) -> tuple[Sequence[Camera], str | None]:
    """The cameras that fit, newest first. InvalidRequest for a selector that is none; GroupNotFound."""
    selectors = [] if filters.selector is None else [selecting.read(filters.selector, "query.selector")]
    if filters.group is not None:
        selectors.append(groups_service.selector_of(session, filters.group))
    name, _, version = (filters.package or "").partition("/")
    wanted = repository.Filters(
        selectors=selectors,
        controller_id=filters.controller_id,
        prefix=filters.q,
        health=filters.health,
        package=(name, version) if filters.package else None,
        unseen_since=_unseen_since(session, filters),
    )
    return newest_first(session, repository.filtered(wanted), Camera.id, page)


def _unseen_since(session: Session, filters: CameraFilters) -> datetime | None:
    moments = [] if filters.seen_before is None else [filters.seen_before]
    if filters.unseen_s is not None:
        now = db_now(session)
        moments.append(now - timedelta(seconds=min(filters.unseen_s, now.timestamp())))
    return min(moments, default=None)


def change(session: Session, camera_id: str, body: CameraChange, *, actor: Actor) -> Camera:
    """Other labels, another format; what is null stays. CameraNotFound."""
    camera = locked(session, camera_id)
    changed: dict[str, Any] = {}
    if body.labels is not None and body.labels != camera.labels:
        changed |= {"labels": body.labels, "labels_before": camera.labels}
        repository.set_labels(session, camera, body.labels)
    if body.format is not None and body.format != camera.format:
        changed |= {"format": body.format.value}
        camera.format = body.format.value
    if changed:
        touch(session, [camera.id])
        record(session, "camera.changed", actor=actor, camera_id=camera.id, **changed)
    return camera


def delete(session: Session, camera_id: str, *, actor: Actor) -> None:
    """Forget a camera: its token is dead, its open actions are cancelled, its controller id is free. CameraNotFound."""
    # Actions before the camera, as whoever handles a device's feedback takes them; else the two could wait for each other.
    ids = [action.id for action in repository.open_actions(session, camera_id)]
    move_all(session, ids, ActionState.CANCELLED, message="the camera was deleted")
    retire(session, locked(session, camera_id))
    record(session, "camera.deleted", actor=actor, camera_id=camera_id)


def retire(session: Session, camera: Camera) -> None:
    """Let a locked camera in no more. Its row stays, for what it did."""
    camera.deleted_at, camera.token_hash = db_now(session), None
    session.flush()
    touch(session, [camera.id])


def renew_token(session: Session, camera_id: str, *, actor: Actor) -> tuple[Camera, str]:
    """Another token; the one before is dead from the commit on. CameraNotFound."""
    camera, token = locked(session, camera_id), new_token()
    camera.token_hash = hash_secret(token)
    touch(session, [camera.id])
    record(session, "camera.token_renewed", actor=actor, camera_id=camera.id)
    return camera, token


def ask_attributes(session: Session, camera_id: str, *, actor: Actor) -> Camera:
    """Have the device tell its attributes anew when it polls next. CameraNotFound."""
    camera = locked(session, camera_id)
    camera.attributes_wanted = True
    touch(session, [camera.id])
    record(session, "camera.attributes_wanted", actor=actor, camera_id=camera.id)
    return camera


def locked(session: Session, camera_id: str) -> Camera:
    """A camera that is there, which nobody else changes until the transaction ends. CameraNotFound."""
    camera = repository.locked(session, [camera_id]).get(camera_id)
    if camera is None or camera.deleted_at is not None:
        raise CameraNotFound(f"There is no camera with the id {camera_id!r}.")
    return camera
