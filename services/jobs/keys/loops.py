"""Periodic work on keys and answers."""

from typing import Final

from services.jobs.runtime import ServiceLoop
from shared.kit.idempotency import forget_answers

LOOPS: Final = (ServiceLoop(name="idempotency.retention", every_s=lambda _: 900, tick=forget_answers),)
