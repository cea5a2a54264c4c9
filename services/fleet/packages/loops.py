"""Periodic work on packages."""

from typing import Final

from services.fleet.packages.removing import remove_forgotten
from services.fleet.runtime import ServiceLoop, Services


def _tidy(services: Services) -> None:
    remove_forgotten(services)
    services.blobs.forget_abandoned()


LOOPS: Final = (ServiceLoop(name="packages.tidy", every_s=lambda _: 3600, tick=_tidy),)
