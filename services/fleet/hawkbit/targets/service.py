"""Decisions on targets, which are cameras."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.cameras import service as cameras
from services.fleet.cameras.models import Camera
from services.fleet.cameras.registering import register
from services.fleet.events.record import record
from services.fleet.hawkbit.configs.service import gateway_token_id, overdue_time, polling_time
from services.fleet.hawkbit.errors import NotSupported, TargetNotFound
from services.fleet.hawkbit.messages import Base, Links, Paged, Window, ms
from services.fleet.hawkbit.models import TargetName
from services.fleet.hawkbit.targets import repository
from services.fleet.hawkbit.targets.query import NotRead, parse
from services.fleet.hawkbit.targets.schemas import PollStatus, TargetChange, TargetIn, TargetOut
from services.fleet.polling.epochs import touch
from services.fleet.settings import FleetSettings
from shared.contracts.cameras import CameraFormat
from shared.contracts.rollouts import ActionState
from shared.kit.auth import Actor, hash_secret
from shared.kit.database import db_now


def create(
    session: Session, bodies: Sequence[TargetIn], settings: FleetSettings, base: Base, *, actor: Actor
) -> list[TargetOut]:
    """Register cameras, with their tokens in the answer. CameraExists; then none is registered."""
    made = [_create(session, body, actor) for body in bodies]
    shown = show(session, [camera for camera, _ in made], settings, base)
    return [out.model_copy(update={"security_token": token}) for out, (_, token) in zip(shown, made, strict=True)]


def _create(session: Session, body: TargetIn, actor: Actor) -> tuple[Camera, str]:
    token = body.security_token or secrets.token_hex(16)
    camera = register(
        session,
        body.controller_id,
        labels={},
        format=CameraFormat.SWU,
        token_hash=hash_secret(token),
        provisioned_by=gateway_token_id(session),
        by=actor,
    )
    session.refresh(camera)
    _call(session, camera, body.name, body.description)
    return camera, token


def get(session: Session, controller_id: str) -> Camera:
    """The camera. TargetNotFound."""
    camera = repository.find(session, controller_id)
    if camera is None:
        raise TargetNotFound(f"There is no target {controller_id!r}.")
    return camera


def page(session: Session, window: Window, settings: FleetSettings, base: Base) -> Paged[TargetOut]:
    """Targets by the time of their registration. NotSupported for a query that is not read here."""
    try:
        query = parse(window.q) if window.q is not None else None
    except NotRead as exc:
        raise NotSupported(f"The query {exc}.") from exc
    found, total = repository.page(session, query, window)
    return Paged(content=show(session, found, settings, base), total=total, size=len(found))


def change(session: Session, controller_id: str, body: TargetChange, *, actor: Actor) -> Camera:
    """Another name, description or token. TargetNotFound."""
    camera = cameras.locked(session, get(session, controller_id).id)
    _call(session, camera, body.name, body.description)
    if body.security_token is not None:
        camera.token_hash = hash_secret(body.security_token)
        touch(session, [camera.id])
    changed = sorted(body.model_fields_set)
    record(session, "camera.changed", actor=actor, camera_id=camera.id, fields=changed)
    session.flush()
    return camera


def delete(session: Session, controller_id: str, *, actor: Actor) -> None:
    """Forget the camera. TargetNotFound."""
    cameras.delete(session, get(session, controller_id).id, actor=actor)


def _call(session: Session, camera: Camera, name: str | None, description: str | None) -> None:
    known = session.get(TargetName, camera.id) or TargetName(camera_id=camera.id, name=camera.controller_id, description="")
    if name is not None:
        known.name = name
    if description is not None:
        known.description = description
    session.add(known)
    session.flush()


def show(session: Session, found: Sequence[Camera], settings: FleetSettings, base: Base) -> list[TargetOut]:
    """As clients are told of them."""
    ids = [camera.id for camera in found]
    names, contacts = repository.names(session, ids), repository.contacts(session, ids)
    actions = repository.newest_actions(session, ids)
    times = polling_time(session, settings), overdue_time(session, settings), db_now(session)
    shown = []
    for camera in found:
        known, contact = names.get(camera.id), contacts.get(camera.id)
        seen = contact.seen_at if contact else None
        shown.append(
            TargetOut(
                controller_id=camera.controller_id,
                name=known.name if known else camera.controller_id,
                description=known.description if known else "",
                update_status=_status(camera, actions.get(camera.id), seen),
                ip_address=(contact.address or None) if contact else None,
                request_attributes=camera.attributes_wanted,
                created_by=camera.registered_by,
                created_at=ms(camera.registered_at) or 0,
                poll_status=_poll_status(seen, *times),
                links=_links(camera, base),
            )
        )
    return shown


def _status(
    camera: Camera, newest: Action | None, seen: datetime | None
) -> Literal["unknown", "registered", "pending", "in_sync", "error"]:
    if newest is not None and newest.active:
        return "pending"
    if newest is not None and newest.state in {ActionState.FAILED, ActionState.EXPIRED}:
        return "error"
    if camera.current_package_id is not None:
        return "in_sync"
    return "registered" if seen is not None else "unknown"


def _poll_status(seen: datetime | None, every: timedelta, overdue: timedelta, now: datetime) -> PollStatus | None:
    if seen is None:
        return None
    return PollStatus(
        last_request_at=ms(seen) or 0,
        next_expected_request_at=ms(seen + every) or 0,
        overdue=now > seen + overdue,
    )


def _links(camera: Camera, base: Base) -> Links:
    mine = "targets", camera.controller_id
    return {"self": base(*mine), "attributes": base(*mine, "attributes"), "actions": base(*mine, "actions")}
