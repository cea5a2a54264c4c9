"""Periodic work on events and answers."""

from datetime import timedelta
from typing import Final

from services.fleet.events import repository
from services.fleet.runtime import ServiceLoop, Services
from shared.kit.database import db_now
from shared.kit.idempotency import forget_answers

_AT_ONCE: Final = 5000
"""Deleted by one transaction."""


def forget_events(services: Services) -> None:
    """Delete old events that are no one's deed; what somebody did is kept for good."""
    while not services.stopping.is_set():
        with services.sessions.begin() as session:
            before = db_now(session) - timedelta(seconds=services.settings.events_kept_s)
            if repository.forget(session, before, _AT_ONCE) < _AT_ONCE:
                return


LOOPS: Final = (
    ServiceLoop(name="events.retention", every_s=lambda _: 900, tick=forget_events),
    ServiceLoop(name="idempotency.retention", every_s=lambda _: 900, tick=forget_answers),
)
