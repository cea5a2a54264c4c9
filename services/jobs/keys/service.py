"""Decisions on keys."""

from collections.abc import Sequence

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.jobs.keys import repository
from services.jobs.keys.errors import KeyExpiresInThePast, KeyNameTaken, KeyNotFound, LastAdminKey
from services.jobs.keys.models import ApiKey
from shared.contracts.keys import KeyCreated, KeyIn, KeyOut, Scope
from shared.kit.auth import hash_secret, new_secret
from shared.kit.database import db_now, violated
from shared.kit.pages import PageParams


def create_key(session: Session, body: KeyIn, *, secret: str | None = None) -> KeyCreated:
    """Make a key; the answer is the only place where its secret ever shows. KeyNameTaken also when two requests race."""
    if body.expires_at is not None and body.expires_at <= db_now(session):
        raise KeyExpiresInThePast(f"expires_at {body.expires_at.isoformat()} has passed.")
    secret = secret or new_secret()
    key = ApiKey(name=body.name, scope=body.scope, expires_at=body.expires_at, secret_hash=hash_secret(secret))
    try:
        with session.begin_nested():
            session.add(key)
    except IntegrityError as exc:
        if violated(exc) != ("api_keys", ("name",)):
            raise
        raise KeyNameTaken(f"A key named {body.name!r} exists.", name=body.name) from exc
    session.refresh(key)
    return KeyCreated(**KeyOut.model_validate(key).model_dump(), secret=secret)


def list_keys(session: Session, page: PageParams) -> tuple[Sequence[ApiKey], str | None]:
    """Keys, newest first, revoked ones included."""
    return repository.page(session, page)


def get_key(session: Session, key_id: str) -> ApiKey:
    """Raises KeyNotFound."""
    key = session.get(ApiKey, key_id)
    if key is None:
        raise KeyNotFound(f"There is no key {key_id!r}.")
    return key


def revoke_key(session: Session, key_id: str) -> None:
    """Revoke at once and for good; again is no error. LastAdminKey if nobody could make keys afterwards."""
    admins = repository.live_admins_locked(session)
    key = get_key(session, key_id)
    if key.scope == Scope.ADMIN and {admin.id for admin in admins} == {key.id}:
        raise LastAdminKey(f"{key.name!r} is the only admin key that works.")
    if key.revoked_at is None:
        key.revoked_at = db_now(session)
