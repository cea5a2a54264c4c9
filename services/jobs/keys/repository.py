"""Every query on keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.orm import Session

from services.jobs.keys.models import ApiKey
from shared.contracts.keys import Scope
from shared.kit.database import now_expression
from shared.kit.pages import PageParams, newest_first


def _is_live() -> ColumnElement[bool]:
    unexpired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now_expression())
    return ApiKey.revoked_at.is_(None) & unexpired


def live_by_hash(session: Session, secret_hash: str) -> ApiKey | None:
    """The key with this secret, unless revoked or expired."""
    return session.scalar(select(ApiKey).where(ApiKey.secret_hash == secret_hash, _is_live()))


def by_hash(session: Session, secret_hash: str) -> ApiKey | None:
    """The key with this secret, dead or alive."""
    return session.scalar(select(ApiKey).where(ApiKey.secret_hash == secret_hash))


def live_admins_locked(session: Session) -> Sequence[ApiKey]:
    """The admin keys that work, locked: two admins who revoke each other must not both succeed."""
    query = select(ApiKey).where(ApiKey.scope == Scope.ADMIN, _is_live()).order_by(ApiKey.id)
    return session.scalars(query.with_for_update()).all()


def unrevoked_by_name(session: Session, name: str) -> ApiKey | None:
    """The key that holds this name."""
    return session.scalar(select(ApiKey).where(ApiKey.name == name, ApiKey.revoked_at.is_(None)))


def page(session: Session, page: PageParams) -> tuple[Sequence[ApiKey], str | None]:
    """Keys, newest first."""
    return newest_first(session, select(ApiKey), ApiKey.id, page)


def note_use(session: Session, last_used: Mapping[str, datetime]) -> None:
    """Remember when keys were last used."""
    for key_id, at in last_used.items():
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=at))
