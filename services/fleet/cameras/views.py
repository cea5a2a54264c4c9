"""Cameras as users see them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from services.fleet.cameras import repository
from services.fleet.cameras.models import Camera
from shared.contracts.cameras import CameraCreated, CameraFormat, CameraOut, HealthState, Telemetry


def one(session: Session, camera: Camera) -> CameraOut:
    """A single camera."""
    (shown,) = many(session, [camera])
    return shown


def created(session: Session, camera: Camera, token: str) -> CameraCreated:
    """A camera with the token that is shown this once."""
    return CameraCreated(**one(session, camera).model_dump(), token=token)


def many(session: Session, cameras: Sequence[Camera]) -> list[CameraOut]:
    """Cameras in the order given: four statements, however many they are."""
    ids = [camera.id for camera in cameras]
    seen = repository.seen(session, ids)
    active = repository.active(session, ids)
    packages = [package for each in cameras for package in (each.current_package_id, each.last_good_package_id)]
    refs = repository.refs(session, packages)

    def shown(camera: Camera) -> CameraOut:
        action = active.get(camera.id)
        return CameraOut(
            **_own(camera),
            last_seen=seen.get(camera.id),
            current_package=refs.get(camera.current_package_id or ""),
            last_good_package=refs.get(camera.last_good_package_id or ""),
            action=action.id if action else None,
            rollout=action.rollout_id if action else None,
        )

    return [shown(camera) for camera in cameras]


def _own(camera: Camera) -> dict[str, Any]:
    """What stands in its row."""
    return {
        "id": camera.id,
        "controller_id": camera.controller_id,
        "format": CameraFormat(camera.format),
        "labels": camera.labels,
        "attributes": camera.attributes,
        "registered_at": camera.registered_at,
        "registered_by": camera.registered_by,
        "health": HealthState(camera.health),
        "health_reason": camera.health_reason,
        "telemetry": None if camera.telemetry is None else Telemetry.model_validate(camera.telemetry),
        "replaced_by": camera.replaced_by_id,
        "deleted_at": camera.deleted_at,
    }
