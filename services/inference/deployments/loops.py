"""Periodic work on deployments and answers."""

from typing import Final

from services.inference.deployments import converge, fleet, follow, heartbeat
from services.inference.runtime import ServiceLoop, Services
from shared.kit.idempotency import forget_answers


def _heartbeat_s(services: Services) -> float:
    return services.settings.replica_alive_s / 3


LOOPS: Final = (
    ServiceLoop(name=converge.CONVERGE, every_s=lambda services: services.settings.converge_s, tick=converge.tick),
    ServiceLoop(name=fleet.ROLL_OUT, every_s=lambda services: services.settings.converge_s, tick=fleet.tick),
    ServiceLoop(name="deployments.follow", every_s=lambda services: services.settings.follow_s, tick=follow.tick),
    ServiceLoop(name="deployments.heartbeat", every_s=_heartbeat_s, tick=heartbeat.tick),
    ServiceLoop(name="idempotency.retention", every_s=lambda _: 900, tick=forget_answers),
)
