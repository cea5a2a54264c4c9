"""API keys: who may do what."""

from enum import StrEnum

from pydantic import Field

from shared.contracts.base import Lenient, Name, Strict, Timestamp


class Scope(StrEnum):
    """What a key may do. viewer < operator < admin; worker stands beside them and speaks the worker protocol only."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    WORKER = "worker"

    def allows(self, needed: "Scope") -> bool:
        """True if a key with this scope may call a route that needs ``needed``."""
        return needed in _ALLOWS[self]


_ALLOWS = {
    Scope.VIEWER: {Scope.VIEWER},
    Scope.OPERATOR: {Scope.VIEWER, Scope.OPERATOR},
    Scope.ADMIN: {Scope.VIEWER, Scope.OPERATOR, Scope.ADMIN, Scope.WORKER},
    Scope.WORKER: {Scope.WORKER},
}


class KeyIn(Strict):
    """Asks for a new key."""

    name: Name
    scope: Scope
    expires_at: Timestamp | None = None


class KeyOut(Lenient):
    """A key as it can be shown: never its secret."""

    id: str
    name: str
    scope: Scope
    created_at: Timestamp
    expires_at: Timestamp | None = None
    last_used_at: Timestamp | None = None
    revoked_at: Timestamp | None = None


class KeyCreated(KeyOut):
    """The answer to the creation of a key: the only time its secret is shown."""

    secret: str = Field(description="`pf_` and 43 characters of base64url: 256 random bits")
