"""Which camera is asking, and whether it may.

`TargetToken`: the camera's own. `GatewayToken`: a provisioning token's. It registers cameras until it expires, is revoked or
has registered as many as it may; and it speaks for those that it has registered until it is revoked, also when it has expired:
they may have no other token.
"""

import hmac

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera, ProvisioningToken
from services.fleet.cameras.registering import CameraExists, register
from services.fleet.ddi import repository
from services.fleet.ddi.caller import GATEWAY, TARGET, Caller
from services.fleet.ddi.errors import NoMoreCameras, NotLetIn
from services.fleet.polling.epochs import touch
from services.fleet.runtime import Services
from shared.contracts.cameras import CameraFormat, EnrolOut
from shared.kit.auth import hash_secret, new_secret
from shared.kit.database import db_now


def admit(session: Session, caller: Caller) -> Camera:
    """The camera that is asking; NotLetIn."""
    camera = repository.camera_by_controller(session, caller.controller_id)
    if camera is None or not may_speak(session, caller, camera.token_hash, camera.provisioned_by):
        raise not_let_in(caller)
    return camera


def may_speak(session: Session, caller: Caller, token_hash: str | None, provisioned_by: str | None) -> bool:
    """Whether what the caller showed lets it speak for a camera with these columns."""
    if holds(caller, token_hash):
        return True
    if caller.scheme == GATEWAY and provisioned_by is not None:
        token = repository.provisioning_token(session, caller.token_hash)
        return token is not None and token.id == provisioned_by
    return False


def holds(caller: Caller, token_hash: str | None) -> bool:
    """Whether the caller showed this token of a camera."""
    return caller.scheme == TARGET and token_hash is not None and hmac.compare_digest(token_hash, caller.token_hash)


def not_let_in(caller: Caller) -> NotLetIn:
    """As the refusal of a camera that is unknown, deleted, or has another token: they sound alike."""
    shown = f"This {caller.scheme} does not let the device in." if caller.scheme else "The request carries no device token."
    return NotLetIn(shown)


def register_itself(services: Services, caller: Caller) -> None:
    """Add the unknown camera that shows a provisioning token, in a transaction of its own. NotLetIn, NoMoreCameras.

    If another request was quicker nothing happens: the camera is known then.
    """
    try:
        with services.sessions.begin() as session:
            _register(session, caller, _spend(session, caller), token_hash=None)
    except CameraExists:
        return


def enrol(session: Session, caller: Caller) -> EnrolOut:
    """A token of its own for the device that shows a provisioning token, which must be able to register cameras still.

    A camera that the same provisioning token has registered gets another one. NotLetIn, NoMoreCameras, CameraExists.
    """
    secret = new_secret()
    known = repository.camera_by_controller(session, caller.controller_id)
    token = repository.provisioning_token(session, caller.token_hash) if caller.scheme == GATEWAY else None
    if known is None or token is None or known.provisioned_by != token.id:
        _register(session, caller, _spend(session, caller), token_hash=hash_secret(secret))
    elif _has_expired(session, token):
        raise not_let_in(caller)
    else:
        known.token_hash = hash_secret(secret)
        touch(session, [known.id])
    return EnrolOut(controller_id=caller.controller_id, token=secret)


def _register(session: Session, caller: Caller, token: ProvisioningToken, *, token_hash: str | None) -> None:
    register(
        session,
        caller.controller_id,
        labels=token.labels,
        format=CameraFormat(token.format),
        token_hash=token_hash,
        provisioned_by=token.id,
        by=token.name,
    )


def _spend(session: Session, caller: Caller) -> ProvisioningToken:
    """Count one more camera; the WHERE decides, so that any number may ask at once and never too many get in."""
    token = repository.provisioning_token(session, caller.token_hash) if caller.scheme == GATEWAY else None
    if token is None or _has_expired(session, token):
        raise not_let_in(caller)
    spent = (
        update(ProvisioningToken)
        .where(
            ProvisioningToken.id == token.id,
            ProvisioningToken.revoked_at.is_(None),
            or_(ProvisioningToken.expires_at.is_(None), ProvisioningToken.expires_at > db_now(session)),
            ProvisioningToken.cameras < ProvisioningToken.max_cameras,
        )
        .values(cameras=ProvisioningToken.cameras + 1)
        .returning(ProvisioningToken.id)
    )
    if session.scalar(spent, execution_options={"synchronize_session": False}) is None:
        raise NoMoreCameras(f"The provisioning token {token.name!r} has let in all {token.max_cameras} cameras that it may.")
    return token


def _has_expired(session: Session, token: ProvisioningToken) -> bool:
    return token.expires_at is not None and token.expires_at <= db_now(session)
