"""Telling what happened, in the transaction in which it happened."""

from typing import Any

from sqlalchemy.orm import Session

from services.fleet.events.models import Event
from shared.kit.auth import Actor


def record(
    session: Session,
    type_: str,
    *,
    actor: Actor | None = None,
    rollout_id: str | None = None,
    camera_id: str | None = None,
    **detail: Any,
) -> None:
    """``type_`` as `rollout.started`. ``actor``: who did it; None for the service itself and for devices."""
    session.add(
        Event(
            type=type_,
            actor=actor.name if actor else None,
            actor_key=actor.key_id if actor else None,
            rollout_id=rollout_id,
            camera_id=camera_id,
            detail=detail,
        )
    )
