"""A new camera, however it comes: an operator registers it, or it lets itself in with a provisioning token."""

from collections.abc import Mapping

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.events.record import record
from services.fleet.polling.models import Contact
from shared.contracts.cameras import CameraFormat
from shared.kit.auth import Actor
from shared.kit.database import Violation, violated
from shared.kit.problems import Conflict


class CameraExists(Conflict):
    """Another camera has this controller id."""

    title = "Controller id already taken"
    hint = "choose another, or delete the camera that has it"


def register(
    session: Session,
    controller_id: str,
    *,
    labels: Mapping[str, str],
    format: CameraFormat,
    token_hash: str | None,
    provisioned_by: str | None,
    by: Actor | str,
) -> Camera:
    """Add a camera with all that belongs to one. CameraExists also when two ask at the same time; nothing is added then.

    ``token_hash``: SHA-256 of its TargetToken as hex; None: it has none yet. ``provisioned_by``: id of the provisioning token
    that let it in. ``by``: who did it; the name of the provisioning token where nobody did.
    """
    actor = by if isinstance(by, Actor) else None
    camera = Camera(
        controller_id=controller_id,
        format=format.value,
        labels=dict(labels),
        attributes={},
        token_hash=token_hash,
        provisioned_by=provisioned_by,
        registered_by=actor.name if actor else str(by),
    )
    _insert(session, camera)
    session.add(Contact(camera_id=camera.id))
    session.add_all(CameraLabel(camera_id=camera.id, key=key, value=value) for key, value in labels.items())
    record(session, "camera.registered", actor=actor, camera_id=camera.id, controller_id=controller_id, by=camera.registered_by)
    session.flush()
    return camera


def _insert(session: Session, camera: Camera) -> None:
    try:
        with session.begin_nested():
            session.add(camera)
    except IntegrityError as exc:
        if violated(exc) != Violation("cameras", ("controller_id",)):
            raise
        raise CameraExists(
            f"A camera with the controller id {camera.controller_id!r} exists.", controller_id=camera.controller_id
        ) from exc
