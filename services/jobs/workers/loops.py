"""Periodic work on workers."""

from typing import Final

from services.jobs.runtime import ServiceLoop
from services.jobs.workers.service import forget_old

LOOPS: Final = (ServiceLoop(name="workers.retention", every_s=lambda _: 3600, tick=forget_old),)
