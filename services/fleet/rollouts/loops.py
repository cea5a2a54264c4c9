"""Periodic work on rollouts."""

from typing import Final

from services.fleet.rollouts import engine, quality
from services.fleet.runtime import ServiceLoop

LOOPS: Final[tuple[ServiceLoop, ...]] = (
    ServiceLoop(name=engine.TICK, every_s=lambda services: services.settings.tick_s, tick=engine.tick),
    ServiceLoop(name=quality.COMPARE, every_s=lambda services: 5 * services.settings.tick_s, tick=quality.tick),
    ServiceLoop(name="samples.retention", every_s=lambda _: 3600, tick=quality.forget_old),
)
