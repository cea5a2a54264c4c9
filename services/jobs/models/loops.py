"""Periodic work on models."""

from typing import Final

from services.jobs.models import registration
from services.jobs.runtime import ServiceLoop

LOOPS: Final = (ServiceLoop(name=registration.LOOP, every_s=lambda _: registration.EVERY_S, tick=registration.tick),)
