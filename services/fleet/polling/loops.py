"""Periodic work on polling."""

from typing import Final

from sqlalchemy import select

from services.fleet.polling.contacts import write_heard
from services.fleet.polling.models import Epoch
from services.fleet.runtime import ServiceLoop, Services
from shared.kit.database import begin_reading


def look_at_epochs(services: Services) -> None:
    """Forget what other replicas, or this one, have changed."""
    with services.sessions.begin() as session:
        begin_reading(session)
        epochs = session.scalars(select(Epoch.epoch).order_by(Epoch.bucket)).all()
    services.polls.look(epochs)


def _write_heard(services: Services) -> None:
    write_heard(services)


LOOPS: Final[tuple[ServiceLoop, ...]] = (
    ServiceLoop(name="polling.epochs", every_s=lambda services: services.settings.epochs_s, tick=look_at_epochs),
    ServiceLoop(name="polling.contacts", every_s=lambda services: services.settings.contacts_s, tick=_write_heard),
)
