"""Periodic work on keys and answers."""

from typing import Final

from services.jobs.runtime import ServiceLoop, Services
from shared.kit.idempotency import forget_old_answers


def _forget_answers(services: Services) -> None:
    with services.sessions.begin() as session:
        forget_old_answers(session)


LOOPS: Final = (ServiceLoop(name="idempotency.retention", every_s=lambda _: 900, tick=_forget_answers),)
