"""Periodic work on corrections."""

from typing import Final

from services.inference.feedback.service import forget_old
from services.inference.runtime import ServiceLoop

LOOPS: Final = (ServiceLoop(name="feedback.retention", every_s=lambda _: 600, tick=forget_old),)
