"""Waiting until a deployment is served, for whoever asked for it."""

import asyncio
import time
from typing import Final

from starlette.concurrency import run_in_threadpool

from services.inference.deployments import service, views
from services.inference.runtime import Services
from shared.contracts.deployments import DeploymentOut, ReplicaState
from shared.kit.database import begin_reading

_POLL_S: Final = 0.1


async def settled(services: Services, name: str, wait_s: float) -> DeploymentOut:
    """The deployment once it is served everywhere, or failed somewhere, or ``wait_s`` are over. DeploymentNotFound."""
    give_up = time.monotonic() + wait_s
    while True:
        shown = await run_in_threadpool(read, services, name)
        if shown.ready or any(replica.state is ReplicaState.FAILED for replica in shown.replicas):
            return shown
        if time.monotonic() >= give_up:
            return shown
        await asyncio.sleep(_POLL_S)


def read(services: Services, name: str) -> DeploymentOut:
    """The deployment as it is now. DeploymentNotFound."""
    with services.sessions.begin() as session:
        begin_reading(session)
        return views.one(session, services, service.get(session, name))
