"""Who calls hawkBit's management API: an API key, as Bearer or as the password of HTTP Basic, which its clients speak."""

import base64
import binascii
from typing import Annotated

from fastapi import Depends, Request

from services.fleet.hawkbit.errors import BasicUnauthorized
from shared.contracts.keys import Scope
from shared.kit.auth import Actor, check_scope, is_secret


def secret_of(authorization: str) -> str | None:
    """The key in the header; None if it is none. The user name of Basic may be any, as hawkBit's `DEFAULT\\admin`."""
    scheme, _, rest = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() != "basic":
        return None
    try:
        _, colon, password = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return password if colon else None


def authenticated(request: Request) -> Actor:
    """The caller. BasicUnauthorized for a missing, malformed, unknown, revoked or expired key alike."""
    header = request.headers.get("authorization")
    if header is None:
        raise BasicUnauthorized("The request carries no key.")
    secret = secret_of(header)
    actor: Actor | None = request.app.state.authenticate(secret) if secret is not None and is_secret(secret) else None
    if actor is None:
        raise BasicUnauthorized("The key is unknown, revoked or expired.")
    request.state.actor = actor
    return actor


def _viewer(actor: Annotated[Actor, Depends(authenticated)]) -> Actor:
    return check_scope(actor, Scope.VIEWER)


def _operator(actor: Annotated[Actor, Depends(authenticated)]) -> Actor:
    return check_scope(actor, Scope.OPERATOR)


ViewerActor = Annotated[Actor, Depends(_viewer)]
OperatorActor = Annotated[Actor, Depends(_operator)]
VIEWER = Depends(_viewer)
"""For ``dependencies=[...]``."""
