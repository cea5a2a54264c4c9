"""Reads and changes hawkBit's tenant settings. Its gateway token is a provisioning token of ours, by the name of hawkbit."""

import json
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.fleet.cameras.models import ProvisioningToken
from services.fleet.events.record import record
from services.fleet.hawkbit.configs.domain import FIXED, BadValue, Key, Value, checked, duration, written
from services.fleet.hawkbit.errors import ConfigNotFound, ConfigNotReadable
from services.fleet.hawkbit.models import Config
from services.fleet.settings import FleetSettings
from shared.contracts.cameras import CameraFormat
from shared.contracts.keys import Scope
from shared.kit.auth import Actor, check_scope, hash_secret, new_secret
from shared.kit.database import db_now
from shared.kit.problems import InvalidRequest

TOKEN_NAME: Final = "hawkbit"
OVERDUE_POLLS: Final = 3
"""A target that missed so many is overdue unless pollingOverdueTime says otherwise."""


def known(name: str) -> Key:
    """The setting of this name. ConfigNotFound."""
    try:
        return Key(name)
    except ValueError as exc:
        raise ConfigNotFound(f"There is no setting {name[:80]!r}.") from exc


def readable(session: Session, settings: FleetSettings) -> dict[Key, tuple[Value, bool]]:
    """All that can be read, and whether each is as it is by default."""
    return {key: value_of(session, settings, key) for key in Key if key is not Key.GATEWAY_TOKEN}


def value_of(session: Session, settings: FleetSettings, key: Key) -> tuple[Value, bool]:
    """A setting's value, and whether it is the default. ConfigNotReadable of the gateway token."""
    if key is Key.GATEWAY_TOKEN:
        raise ConfigNotReadable("Of the gateway token only a hash is kept.")
    if key in FIXED:
        return FIXED[key], True
    row = session.get(Config, key)
    if row is not None:
        value: Value = json.loads(row.value)
        return value, False
    return _default(session, settings, key), True


def _default(session: Session, settings: FleetSettings, key: Key) -> Value:
    if key is Key.GATEWAY_TOKENS:
        return False
    if key is Key.POLLING_TIME:
        return written(timedelta(seconds=settings.poll_s))
    return written(polling_time(session, settings) * OVERDUE_POLLS)


def polling_time(session: Session, settings: FleetSettings) -> timedelta:
    """How often devices that have nothing to do are to ask."""
    value, _ = value_of(session, settings, Key.POLLING_TIME)
    return duration(str(value))


def configured_polling_time(session: Session) -> timedelta | None:
    """As ``polling_time``; None where nobody has set it."""
    row = session.get(Config, Key.POLLING_TIME)
    return None if row is None else duration(json.loads(row.value))


def overdue_time(session: Session, settings: FleetSettings) -> timedelta:
    """So long after its last poll a target is overdue."""
    value, _ = value_of(session, settings, Key.OVERDUE_TIME)
    return duration(str(value))


def gateway_token_id(session: Session) -> str | None:
    """Of the token that speaks for targets that are made over this API, as hawkBit's does; None before it was ever set."""
    return session.scalar(select(ProvisioningToken.id).where(ProvisioningToken.name == TOKEN_NAME))


def change(session: Session, key: Key, value: object, actor: Actor) -> Value:
    """Set it, and what it is now. InvalidRequest for a value that it cannot have; Forbidden."""
    _check_may_change(key, actor)
    try:
        new = checked(key, value).value
    except BadValue as exc:
        raise InvalidRequest.of_field("body.value", "not a value of this setting", str(exc)) from exc
    if key in FIXED:
        return new
    if key is Key.GATEWAY_TOKEN:
        _set_token(session, str(new), actor)
    else:
        session.merge(Config(key=key.value, value=json.dumps(new), changed_at=db_now(session), changed_by=actor.name))
        session.flush()
    if key is Key.GATEWAY_TOKENS:
        _switch_token(session, on=bool(new))
    record(session, "hawkbit.config.changed", actor=actor, key=key.value)
    return new


def reset(session: Session, key: Key, actor: Actor) -> None:
    """Back to the default; the gateway token counts no more. Forbidden."""
    _check_may_change(key, actor)
    session.execute(delete(Config).where(Config.key == key))
    if key is Key.GATEWAY_TOKENS:
        _switch_token(session, on=False)
    if key is Key.GATEWAY_TOKEN and _token(session) is not None:
        # A hash of nothing known: cameras refer to the row, and no switch shall bring the old secret back.
        _set_token(session, new_secret(), actor)
    record(session, "hawkbit.config.reset", actor=actor, key=key.value)


def _check_may_change(key: Key, actor: Actor) -> None:
    """What lets devices in is for those to decide who make provisioning tokens."""
    if key in {Key.GATEWAY_TOKEN, Key.GATEWAY_TOKENS}:
        check_scope(actor, Scope.ADMIN)


def _set_token(session: Session, secret: str, actor: Actor) -> None:
    enabled = session.get(Config, Key.GATEWAY_TOKENS)
    on = enabled is not None and json.loads(enabled.value) is True
    token = _token(session)
    if token is None:
        token = ProvisioningToken(
            name=TOKEN_NAME,
            labels={},
            format=CameraFormat.SWU.value,
            max_cameras=1_000_000,
            created_by=actor.name,
        )
    token.token_hash = hash_secret(secret)
    token.revoked_at = None if on else db_now(session)
    session.add(token)
    session.flush()


def _switch_token(session: Session, *, on: bool) -> None:
    token = _token(session)
    if token is not None:
        token.revoked_at = None if on else db_now(session)
        session.flush()


def _token(session: Session) -> ProvisioningToken | None:
    return session.scalar(select(ProvisioningToken).where(ProvisioningToken.name == TOKEN_NAME).with_for_update())
