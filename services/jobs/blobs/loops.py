"""Periodic work on blobs."""

from typing import Final

from services.jobs.runtime import ServiceLoop, Services


def _forget_abandoned(services: Services) -> None:
    services.blobs.forget_abandoned()


LOOPS: Final = (ServiceLoop(name="blobs.abandoned", every_s=lambda _: 3600, tick=_forget_abandoned),)
