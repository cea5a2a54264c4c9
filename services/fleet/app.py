"""Builds the fleet service: the only place where its clients are made and its features are listed."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from services.fleet import tables
from services.fleet.actions.router import router as actions
from services.fleet.cameras.loops import LOOPS as CAMERA_LOOPS
from services.fleet.cameras.router import router as cameras
from services.fleet.ddi.door import DeviceDoor
from services.fleet.ddi.reads import PollReads
from services.fleet.ddi.router import POLL_ROUTE
from services.fleet.ddi.router import router as ddi
from services.fleet.events.feed import EventFeed
from services.fleet.events.loops import LOOPS as EVENT_LOOPS
from services.fleet.events.router import router as events
from services.fleet.hawkbit.router import router as hawkbit
from services.fleet.metrics import Metrics
from services.fleet.packages.loops import LOOPS as PACKAGE_LOOPS
from services.fleet.packages.router import router as packages
from services.fleet.polling.loops import LOOPS as POLLING_LOOPS
from services.fleet.polling.memory import PollMemory
from services.fleet.rollouts.loops import LOOPS as ROLLOUT_LOOPS
from services.fleet.rollouts.router import router as rollouts
from services.fleet.runtime import ServiceLoop, Services
from services.fleet.settings import FleetSettings
from shared.client.connecting import ClientFactory
from shared.contracts.cameras import CameraIn, EnrolIn, SampleIn, Telemetry
from shared.contracts.ddi import ConfigData, Feedback
from shared.contracts.rollouts import RolloutIn
from shared.kit.blobs import BlobStore
from shared.kit.database import begin_reading, make_engine, make_sessions
from shared.kit.health import Probes
from shared.kit.health import router as health
from shared.kit.limits import RequestLimits
from shared.kit.loops import LoopRunner
from shared.kit.observe import Observed
from shared.kit.problems import describe_problems, install_problem_handlers
from shared.kit.remote_keys import RemoteKeys

ROUTERS: Final[tuple[APIRouter, ...]] = (ddi, cameras, packages, rollouts, actions, events, hawkbit, health)
"""The devices' first: theirs are asked a hundred times as often as all others."""

LOOPS: Final[tuple[ServiceLoop, ...]] = (*ROLLOUT_LOOPS, *POLLING_LOOPS, *CAMERA_LOOPS, *PACKAGE_LOOPS, *EVENT_LOOPS)

assert tables.METADATA.tables


def create_app(settings: FleetSettings) -> FastAPI:
    """The service. Its clients are built when it starts (lifespan); the database must be migrated before."""
    registry = CollectorRegistry()
    app = FastAPI(title="Picofleet fleet", version=version("picofleet"), lifespan=_lifespan, docs_url="/docs", redoc_url=None)
    app.state.settings, app.state.registry = settings, registry
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(RequestLimits, max_bytes=1 << 20, streamed={"/rest/v1/softwaremodules": settings.max_package_bytes})
    app.add_middleware(Observed, registry=registry, unlogged={POLL_ROUTE})
    app.add_middleware(DeviceDoor)
    describe_problems(app, CameraIn, RolloutIn, EnrolIn, Feedback, ConfigData, Telemetry, SampleIn)
    return app


def build_services(
    settings: FleetSettings, registry: CollectorRegistry, wake: Callable[[str], None], stopping: threading.Event
) -> Services:
    """Make the clients. Nothing is connected before its first use."""
    engine, polls = make_engine(settings.database_url), PollMemory()
    key = settings.api_key.get_secret_value() if settings.api_key else None
    sessions = make_sessions(engine)
    return Services(
        settings=settings,
        engine=engine,
        sessions=sessions,
        keys=RemoteKeys(settings.jobs_url),
        connect=ClientFactory(settings.jobs_url, key=key, key_file=settings.api_key_file),
        blobs=BlobStore(settings.blob_url),
        polls=polls,
        reads=PollReads(engine, polls),
        feed=EventFeed(sessions, stopping),
        metrics=Metrics(registry),
        wake=wake,
        stopping=stopping,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: FleetSettings = app.state.settings
    stopping = threading.Event()
    runner: LoopRunner[Services] = LoopRunner(LOOPS if settings.run_loops else [], stopping)
    services = await run_in_threadpool(build_services, settings, app.state.registry, runner.wake, stopping)
    app.state.services, app.state.sessions = services, services.sessions
    app.state.authenticate, app.state.keys = services.keys.authenticate, services.keys
    app.state.probes, app.state.needed = _probes(services), frozenset({"database"})
    runner.start(services)
    try:
        yield
    finally:
        await run_in_threadpool(_stop, services, runner)


def _probes(services: Services) -> Probes:
    return {"database": partial(_database, services)}


def _database(services: Services) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        session.execute(text("SELECT 1 FROM cameras LIMIT 1"))


def _stop(services: Services, runner: LoopRunner[Services]) -> None:
    runner.stop()
    services.keys.close()
    services.engine.dispose()
