"""API keys at the door: one dependency that every service's routes use.

The app provides ``app.state.authenticate``: a function from a key's secret to its :class:`Actor`, or None.
"""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.contracts.keys import Scope
from shared.kit.problems import Forbidden, Unauthorized

SECRET_PREFIX = "pf_"
_SECRET_LENGTH = len(SECRET_PREFIX) + 43

_bearer = HTTPBearer(auto_error=False, description="An API key: `pf_` and 43 characters.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who is calling: the key, its name and its scope."""

    key_id: str
    name: str
    scope: Scope


def new_secret() -> str:
    """A fresh key: ``pf_`` and 43 characters of base64url, 256 random bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What is stored of a key: SHA-256 as hex. 256 random bits need no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()


def is_secret(text: str) -> bool:
    """True if ``text`` has the form of a key."""
    return len(text) == _SECRET_LENGTH and text.startswith(SECRET_PREFIX) and text.isascii()


Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
"""What the request says of its key."""


def authenticated(request: Request, credentials: Credentials) -> Actor:
    """The caller. Unauthorized for a missing, malformed, unknown, revoked or expired key alike."""
    if credentials is None:
        raise Unauthorized("The request carries no key.")
    secret = credentials.credentials
    actor: Actor | None = request.app.state.authenticate(secret) if is_secret(secret) else None
    if actor is None:
        raise Unauthorized("The key is unknown, revoked or expired.")
    request.state.actor = actor
    return actor


AnyActor = Annotated[Actor, Depends(authenticated)]
"""For routes that any valid key may call."""


def require(*scopes: Scope) -> Callable[[Actor], Actor]:
    """A dependency that gives the caller if its scope allows any of ``scopes``; Forbidden if not."""

    def allowed(actor: AnyActor) -> Actor:
        return check_scope(actor, *scopes)

    return allowed


def check_scope(actor: Actor, *scopes: Scope) -> Actor:
    """The caller if its scope allows any of ``scopes``; Forbidden if not."""
    if not any(actor.scope.allows(needed) for needed in scopes):
        needed = " or ".join(scopes)
        raise Forbidden(
            f"The key {actor.name!r} has the scope {actor.scope}; this route needs {needed}.",
            hint=f"use a key with the scope {needed}",
            scope=actor.scope,
        )
    return actor


def requires(*scopes: Scope) -> Any:
    """:func:`require` for ``dependencies=[...]`` of a router or a route."""
    return Depends(require(*scopes))


ViewerActor = Annotated[Actor, Depends(require(Scope.VIEWER))]
OperatorActor = Annotated[Actor, Depends(require(Scope.OPERATOR))]
AdminActor = Annotated[Actor, Depends(require(Scope.ADMIN))]
WorkerActor = Annotated[Actor, Depends(require(Scope.WORKER))]
