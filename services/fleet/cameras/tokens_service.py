"""Decisions on provisioning tokens, with which devices register themselves."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.fleet.cameras.errors import ProvisioningTokenNameTaken, ProvisioningTokenNotFound
from services.fleet.cameras.models import Camera, ProvisioningToken
from services.fleet.cameras.service import new_token
from services.fleet.events.record import record
from services.fleet.polling.epochs import touch
from shared.contracts.cameras import ProvisioningTokenCreated, ProvisioningTokenIn, ProvisioningTokenOut
from shared.kit.auth import Actor, hash_secret
from shared.kit.database import Violation, db_now, violated
from shared.kit.pages import PageParams, newest_first
from shared.kit.problems import InvalidRequest


def create(session: Session, body: ProvisioningTokenIn, *, actor: Actor) -> ProvisioningTokenCreated:
    """Make a token; the answer is the only place where it ever shows. ProvisioningTokenNameTaken also when two race."""
    if body.expires_at is not None and body.expires_at <= db_now(session):
        raise InvalidRequest.of_field("body.expires_at", "has passed already", "a moment to come, or null for no end")
    secret = new_token()
    made = ProvisioningToken(**body.model_dump(), token_hash=hash_secret(secret), created_by=actor.name)
    _insert(session, made)
    session.refresh(made)
    record(session, "provisioning_token.created", actor=actor, token=made.id, name=made.name)
    return ProvisioningTokenCreated(**shown(made).model_dump(), token=secret)


def _insert(session: Session, made: ProvisioningToken) -> None:
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError as exc:
        if violated(exc) != Violation("provisioning_tokens", ("name",)):
            raise
        raise ProvisioningTokenNameTaken(f"A provisioning token named {made.name!r} exists.", name=made.name) from exc


def page(session: Session, page: PageParams) -> tuple[Sequence[ProvisioningToken], str | None]:
    """Tokens, newest first, revoked ones included."""
    return newest_first(session, select(ProvisioningToken), ProvisioningToken.id, page)


def revoke(session: Session, token_id: str, *, actor: Actor) -> None:
    """Let nobody in with it any more; again is no error. ProvisioningTokenNotFound."""
    query = select(ProvisioningToken).where(ProvisioningToken.id == token_id).with_for_update()
    token = session.scalar(query)
    if token is None:
        raise ProvisioningTokenNotFound(f"There is no provisioning token with the id {token_id!r}.")
    if token.revoked_at is not None:
        return
    token.revoked_at = db_now(session)
    session.flush()
    # Replicas must not go on answering from memory those who poll with it.
    touch(session, session.scalars(select(Camera.id).where(Camera.provisioned_by == token.id)))
    record(session, "provisioning_token.revoked", actor=actor, token=token.id, name=token.name)


def shown(token: ProvisioningToken) -> ProvisioningTokenOut:
    """As users see it, without its secret."""
    return ProvisioningTokenOut.model_validate(token)
