"""Deployments as they are now, at once or when they have settled."""

import asyncio
import time
from typing import Final

from starlette.concurrency import run_in_threadpool

from services.inference.deployments import repository, service, views
from services.inference.deployments.fleet_views import with_rollouts
from services.inference.deployments.models import Deployment
from services.inference.runtime import Services
from shared.contracts.deployments import DeploymentOut, ReplicaState
from shared.contracts.pages import Page
from shared.kit.database import begin_reading
from shared.kit.pages import PageParams, newest_first

_POLL_S: Final = 0.1


async def settled(services: Services, name: str, wait_s: float) -> DeploymentOut:
    """The deployment once it is served everywhere, or failed somewhere, or ``wait_s`` are over; one on a fleet once its rollout
    has begun or cannot begin. DeploymentNotFound.
    """
    give_up = time.monotonic() + wait_s
    while True:
        shown = await run_in_threadpool(_stored, services, name)
        if _is_settled(shown) or time.monotonic() >= give_up:
            return await run_in_threadpool(_completed, services, shown)
        await asyncio.sleep(_POLL_S)


def read(services: Services, name: str) -> DeploymentOut:
    """The deployment as it is now. DeploymentNotFound."""
    return _completed(services, _stored(services, name))


def page(services: Services, wanted: PageParams) -> Page[DeploymentOut]:
    """Deployments as they are now, newest first."""
    with services.sessions.begin() as session:
        begin_reading(session)
        rows, following = newest_first(session, repository.all_of_them(), Deployment.id, wanted)
        shown = views.many(session, services, rows)
    return Page(items=with_rollouts(services, shown), next_cursor=following)


def _stored(services: Services, name: str) -> DeploymentOut:
    with services.sessions.begin() as session:
        begin_reading(session)
        return views.one(session, services, service.get(session, name))


def _completed(services: Services, shown: DeploymentOut) -> DeploymentOut:
    (completed,) = with_rollouts(services, [shown])
    return completed


def _is_settled(shown: DeploymentOut) -> bool:
    if shown.rollout is not None:
        return shown.rollout.begun or shown.rollout.error is not None
    return shown.ready or any(replica.state is ReplicaState.FAILED for replica in shown.replicas)
