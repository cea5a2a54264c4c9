"""What this process tells the others of itself."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from services.inference.deployments import repository
from services.inference.deployments.domain import Status
from services.inference.runtime import Services

log = structlog.get_logger(__name__)

_FORGOTTEN: Final = timedelta(days=1)
"""A replica that was not heard of for so long is not coming back under its name."""


def tick(services: Services) -> None:
    """Be alive, and say again what may not have been heard."""
    tell(services, dict(services.convergence.statuses))
    with services.sessions.begin() as session:
        repository.forget_replicas(session, _FORGOTTEN)


def tell(services: Services, statuses: Mapping[str, Status]) -> None:
    """Write that this process is alive, and what it makes of these deployments, by id."""
    replica = services.settings.replica
    with services.sessions.begin() as session:
        repository.heard(session, replica)
        for deployment_id, status in sorted(statuses.items()):
            repository.report(session, deployment_id, replica, status)


def leave(services: Services) -> None:
    """Say goodbye, so that nobody waits for this process. Who cannot is missed soon enough."""
    try:
        with services.sessions.begin() as session:
            repository.leave(session, services.settings.replica)
    except SQLAlchemyError as exc:
        log.warning("replica.left_silently", error=str(exc))
