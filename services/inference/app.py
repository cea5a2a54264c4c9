"""Builds the inference service: the only place where its clients are made and its features are listed."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Final

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from services.inference import tables
from services.inference.deployments import heartbeat
from services.inference.deployments.convergence import Convergence
from services.inference.deployments.loops import LOOPS as DEPLOYMENT_LOOPS
from services.inference.deployments.rollout_reader import RolloutReader
from services.inference.deployments.router import router as deployments
from services.inference.deployments.shadow import Shadows
from services.inference.engine.processors import usable_processors
from services.inference.engine.served import Table
from services.inference.feedback.loops import LOOPS as FEEDBACK_LOOPS
from services.inference.feedback.router import router as feedback
from services.inference.metrics import Metrics
from services.inference.oip.errors import OipErrors
from services.inference.oip.router import infer_router as infer
from services.inference.oip.router import router as open_inference
from services.inference.registry.store import ModelStore
from services.inference.runtime import ServiceLoop, Services
from services.inference.segmentation.drift import Drift
from services.inference.segmentation.router import router as segmentation
from services.inference.settings import InferenceSettings
from shared.client.connecting import ClientFactory
from shared.contracts.feedback import FeedbackIn
from shared.contracts.segmentation import SegmentIn
from shared.kit.blobs import BlobStore
from shared.kit.cache import Cache
from shared.kit.database import begin_reading, make_engine, make_sessions
from shared.kit.health import Probes
from shared.kit.health import router as health
from shared.kit.limits import RequestLimits
from shared.kit.loops import LoopRunner
from shared.kit.observe import Observed
from shared.kit.problems import describe_problems, install_problem_handlers
from shared.kit.remote_keys import RemoteKeys
from shared.kit.tracing import Tracing, install_tracing

ROUTERS: Final[tuple[APIRouter, ...]] = (segmentation, infer, open_inference, health, feedback, deployments)
LOOPS: Final[tuple[ServiceLoop, ...]] = (*DEPLOYMENT_LOOPS, *FEEDBACK_LOOPS)

_FIRST_TICK_S: Final = 20.0
"""So long the service waits at its start for what it served before; then it answers all the same."""

_GRPC: Final = "services.inference.oip.grpc_server"
"""Imported by those alone who want it."""

_HOT: Final = ("/v1/segment", "/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")

_JSON_OVERHEAD: Final = 1 << 20
"""Prompts and base64's padding beside an image."""

assert tables.METADATA.tables


def create_app(settings: InferenceSettings) -> FastAPI:
    """The service. Its clients are built when it starts (lifespan); the database must be migrated before."""
    registry = CollectorRegistry()
    app = FastAPI(
        title="Picofleet inference", version=version("picofleet"), lifespan=_lifespan, docs_url="/docs", redoc_url=None
    )
    app.state.settings, app.state.registry = settings, registry
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    with_image = settings.max_image_bytes * 4 // 3 + _JSON_OVERHEAD
    app.add_middleware(
        RequestLimits,
        max_bytes=1 << 20,
        by_prefix={"/v1/segment": with_image, "/v1/feedback": with_image},
        streamed={"/v2/": settings.max_oip_bytes},
    )
    app.add_middleware(OipErrors)
    app.add_middleware(Observed, registry=registry, unlogged=_HOT)
    app.state.tracing = install_tracing(app, service="picofleet-inference", endpoint=settings.otlp_endpoint)
    describe_problems(app, SegmentIn, FeedbackIn)
    return app


def build_services(
    settings: InferenceSettings,
    registry: CollectorRegistry,
    tracing: Tracing | None,
    wake: Callable[[str], None],
    stopping: threading.Event,
) -> Services:
    """Make the clients. Nothing is connected before its first use."""
    engine = make_engine(settings.database_url)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    connect = ClientFactory(settings.jobs_url, key=key, key_file=settings.api_key_file)
    fleet = _to_fleet(settings)
    metrics = Metrics(registry)
    return Services(
        settings=settings,
        engine=engine,
        sessions=make_sessions(engine),
        keys=RemoteKeys(settings.jobs_url),
        store=ModelStore(Cache(settings.cache_dir, settings.cache_limit_bytes), connect),
        fleet=fleet,
        rollouts=RolloutReader(fleet),
        feedback=BlobStore(settings.feedback_url),
        table=Table(),
        convergence=Convergence(),
        shadows=Shadows(metrics),
        metrics=metrics,
        drift=Drift(metrics),
        tracing=tracing,
        processors=settings.processors or usable_processors(),
        wake=wake,
        stopping=stopping,
    )


def _to_fleet(settings: InferenceSettings) -> ClientFactory:
    key = settings.fleet_key.get_secret_value() if settings.fleet_key else None
    return ClientFactory(settings.fleet_url, key=key, key_file=settings.fleet_key_file)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: InferenceSettings = app.state.settings
    stopping = threading.Event()
    runner: LoopRunner[Services] = LoopRunner(LOOPS if settings.run_loops else [], stopping)
    services = await run_in_threadpool(build_services, settings, app.state.registry, app.state.tracing, runner.wake, stopping)
    app.state.services, app.state.sessions = services, services.sessions
    app.state.authenticate, app.state.keys = services.keys.authenticate, services.keys
    app.state.probes, app.state.needed = _probes(services), frozenset({"database"})
    runner.start(services)
    if settings.grpc_port is not None:
        await run_in_threadpool(import_module, _GRPC)  # 0.4 s, while the loop's thread loads networks
    if settings.run_loops:
        await run_in_threadpool(services.convergence.tried.wait, _FIRST_TICK_S)
    try:
        async with _grpc(app, settings):
            yield
    finally:
        await run_in_threadpool(_stop, services, runner)


@asynccontextmanager
async def _grpc(app: FastAPI, settings: InferenceSettings) -> AsyncIterator[None]:
    if settings.grpc_port is None:
        yield
        return
    grpc_server = import_module(_GRPC)
    server = await grpc_server.start(app, host=settings.host, port=settings.grpc_port, max_bytes=settings.max_oip_bytes)
    app.state.grpc_port = server.port
    try:
        yield
    finally:
        await server.stop()


def _probes(services: Services) -> Probes:
    return {"database": partial(_database, services), "deployments": partial(_deployments, services)}


def _database(services: Services) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        session.execute(text("SELECT 1 FROM deployments LIMIT 1"))


def _deployments(services: Services) -> None:
    for name, why in services.table.failing().items():
        raise RuntimeError(f"{name}: {why}")


def _stop(services: Services, runner: LoopRunner[Services]) -> None:
    runner.stop()
    heartbeat.leave(services)
    services.shadows.close()
    for served in services.table.all():
        served.desk.close()
    services.keys.close()
    services.rollouts.close()
    if services.tracing is not None:
        services.tracing.close()
    services.engine.dispose()
