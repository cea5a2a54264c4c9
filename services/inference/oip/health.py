"""Whether requests can be answered, for both of the protocol's doors."""

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from shared.kit.health import check


async def is_ready(app: FastAPI) -> bool:
    """As ``/readyz`` has it."""
    readiness = await run_in_threadpool(check, app.state.probes, app.state.needed)
    return readiness.status != "failed"
