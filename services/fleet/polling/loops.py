"""Periodic work on polling."""

from typing import Final

from sqlalchemy import select

from services.fleet.polling.contacts import write_heard
from services.fleet.polling.models import Epoch
from services.fleet.runtime import ServiceLoop, Services
from shared.kit.database import read_once


def look_at_epochs(services: Services) -> None:
    """Forget what other replicas, or this one, have changed."""
    # Of the table, not of the class: it is a thousand rows, twice a second.
    table = Epoch.__table__.c
    with read_once(services.engine) as connection:
        epochs = connection.scalars(select(table.epoch).order_by(table.bucket)).all()
    services.polls.look(epochs)


def _write_heard(services: Services) -> None:
    write_heard(services)


LOOPS: Final[tuple[ServiceLoop, ...]] = (
    ServiceLoop(name="polling.epochs", every_s=lambda services: services.settings.epochs_s, tick=look_at_epochs),
    ServiceLoop(name="polling.contacts", every_s=lambda services: services.settings.contacts_s, tick=_write_heard),
)
