"""Periodic work on pipelines."""

from typing import Final

from services.jobs.pipelines import advance
from services.jobs.pipelines.hooks import PIPELINES
from services.jobs.runtime import ServiceLoop

LOOPS: Final = (ServiceLoop(name=PIPELINES, every_s=lambda services: services.settings.sweep_s, tick=advance.tick),)
