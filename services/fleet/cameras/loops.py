"""Periodic work on cameras."""

from typing import Final

from services.fleet.actions.moves import move_all
from services.fleet.cameras import repository
from services.fleet.runtime import ServiceLoop, Services
from shared.contracts.rollouts import ActionState


def cancel_left_behind(services: Services) -> None:
    """Cancel open actions of cameras that are gone: a rollout may reach for a camera while it is being deleted."""
    with services.sessions.begin() as session:
        ids = repository.left_behind(session, services.settings.tick_rows)
        move_all(session, ids, ActionState.CANCELLED, message="the camera was deleted")


LOOPS: Final = (ServiceLoop(name="cameras.left_behind", every_s=lambda _: 60, tick=cancel_left_behind),)
