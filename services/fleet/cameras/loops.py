"""Periodic work on cameras."""

from typing import Final

from services.fleet.runtime import ServiceLoop

LOOPS: Final[tuple[ServiceLoop, ...]] = ()
