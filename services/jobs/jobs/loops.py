"""Periodic and listening work on jobs."""

from typing import Final

from services.jobs.jobs import messenger, sweeper
from services.jobs.runtime import ServiceLoop, Services


def _listen(services: Services) -> None:
    services.wakeups.listen(services.redis, services.stopping)


LOOPS: Final = (
    ServiceLoop(name=messenger.LOOP, every_s=lambda _: messenger.PROBE_S, tick=lambda services: services.messenger.flush()),
    ServiceLoop(name="jobs.wakeups", every_s=lambda _: 1, tick=_listen),
    ServiceLoop(name="jobs.sweep", every_s=lambda services: services.settings.sweep_s, tick=sweeper.sweep),
    ServiceLoop(name="jobs.retention", every_s=lambda _: 3600, tick=sweeper.forget_old_progress),
)
