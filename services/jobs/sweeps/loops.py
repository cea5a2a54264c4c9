"""Periodic work on sweeps."""

from typing import Final

from services.jobs.pipelines.hooks import SWEEPS
from services.jobs.runtime import ServiceLoop
from services.jobs.sweeps import advance

LOOPS: Final = (ServiceLoop(name=SWEEPS, every_s=lambda services: services.settings.sweep_s, tick=advance.tick),)
