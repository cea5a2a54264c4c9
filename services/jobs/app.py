"""Builds the jobs service: the only place where its clients are made and its features are listed."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from prometheus_client import CollectorRegistry
from redis import Redis
from starlette.concurrency import run_in_threadpool

from services.jobs import tables
from services.jobs.blobs.loops import LOOPS as BLOB_LOOPS
from services.jobs.blobs.router import router as blobs
from services.jobs.datasets.router import router as datasets
from services.jobs.health.probes import NEEDED, probes
from services.jobs.jobs import signals
from services.jobs.jobs.loops import LOOPS as JOB_LOOPS
from services.jobs.jobs.messenger import Messenger
from services.jobs.jobs.router import router as jobs
from services.jobs.jobs.wakeups import Wakeups
from services.jobs.jobs.worker_router import router as worker_jobs
from services.jobs.keys.files import ensure_key
from services.jobs.keys.keyring import KeyRing
from services.jobs.keys.loops import LOOPS as KEY_LOOPS
from services.jobs.keys.router import router as keys
from services.jobs.models.loops import LOOPS as MODEL_LOOPS
from services.jobs.models.router import router as models
from services.jobs.packages.router import router as packages
from services.jobs.packages.signer import Signer
from services.jobs.pipelines.loops import LOOPS as PIPELINE_LOOPS
from services.jobs.pipelines.router import router as pipelines
from services.jobs.runtime import ServiceLoop, Services
from services.jobs.settings import JobsSettings
from services.jobs.shards.router import router as shards
from services.jobs.sweeps.loops import LOOPS as SWEEP_LOOPS
from services.jobs.sweeps.router import router as sweeps
from services.jobs.teachers.router import router as teachers
from services.jobs.workers.loops import LOOPS as WORKER_LOOPS
from services.jobs.workers.router import router as workers
from shared.contracts.keys import Scope
from shared.kit.blobs import BlobStore
from shared.kit.celery_app import make_celery
from shared.kit.database import make_engine, make_sessions
from shared.kit.health import router as health
from shared.kit.limits import RequestLimits
from shared.kit.loops import Loop, LoopRunner
from shared.kit.mlflow_api import MlflowApi
from shared.kit.observe import Observed
from shared.kit.problems import describe_problems, install_problem_handlers

ROUTERS: Final[tuple[APIRouter, ...]] = (
    health,
    keys,
    blobs,
    datasets,
    shards,
    jobs,
    worker_jobs,
    workers,
    models,
    packages,
    teachers,
    pipelines,
    sweeps,
)
LOOPS: Final[tuple[ServiceLoop, ...]] = (
    *KEY_LOOPS,
    *BLOB_LOOPS,
    *JOB_LOOPS,
    *WORKER_LOOPS,
    *MODEL_LOOPS,
    *PIPELINE_LOOPS,
    *SWEEP_LOOPS,
)

assert tables.METADATA.tables


def create_app(settings: JobsSettings) -> FastAPI:
    """The service. Its clients are built when it starts (lifespan); the database must be migrated before."""
    registry = CollectorRegistry()
    app = FastAPI(title="Picofleet jobs", version=version("picofleet"), lifespan=_lifespan, docs_url="/docs", redoc_url=None)
    app.state.settings = settings
    app.state.registry = registry
    install_problem_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(
        RequestLimits,
        max_bytes=settings.max_body_bytes,
        by_prefix={"/v1/worker/": settings.max_worker_body_bytes},
        streamed={"/v1/blobs": settings.max_blob_bytes},
    )
    app.add_middleware(Observed, registry=registry)
    describe_problems(app)
    return app


def build_services(settings: JobsSettings, runner_wake: Any, stopping: threading.Event) -> Services:
    """Make the clients. Nothing is connected before its first use."""
    engine = make_engine(settings.database_url)
    sessions = make_sessions(engine)
    redis = Redis.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=2)
    celery = make_celery(settings.redis_url)
    messenger = Messenger(celery, redis, runner_wake)
    signals.install(sessions, messenger)
    return Services(
        settings=settings,
        engine=engine,
        sessions=sessions,
        blobs=BlobStore(settings.blob_url),
        redis=redis,
        celery=celery,
        wake=runner_wake,
        messenger=messenger,
        wakeups=Wakeups(),
        mlflow=MlflowApi(settings.mlflow_url, timeout_s=5),
        signer=Signer.of(settings),
        stopping=stopping,
    )


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    settings: JobsSettings = app.state.settings
    stopping = threading.Event()
    ring_uses: ServiceLoop = Loop(name="keys.uses", every_s=lambda _: 30, tick=lambda _: app.state.keyring.write_uses())
    runner: LoopRunner[Services] = LoopRunner([*LOOPS, ring_uses] if settings.run_loops else [], stopping)
    services = await run_in_threadpool(build_services, settings, runner.wake, stopping)
    keyring = KeyRing(services.sessions)
    app.state.services, app.state.sessions = services, services.sessions
    app.state.probes, app.state.needed = probes(services), NEEDED
    app.state.keyring, app.state.authenticate = keyring, keyring.authenticate
    await run_in_threadpool(_ensure_keys, services)
    runner.start(services)
    try:
        yield
    finally:
        await run_in_threadpool(_stop, services, runner, keyring)


def _ensure_keys(services: Services) -> None:
    settings = services.settings
    files = (
        (settings.admin_key_file, "admin", Scope.ADMIN),
        (settings.worker_key_file, "worker", Scope.WORKER),
        (settings.service_key_file, "service", Scope.VIEWER),
        (settings.fleet_key_file, "fleet", Scope.OPERATOR),
    )
    with services.sessions.begin() as session:
        for path, name, scope in files:
            if path is not None:
                ensure_key(session, path, name=name, scope=scope)
    services.signer.ensure()


def _stop(services: Services, runner: LoopRunner[Services], keyring: KeyRing) -> None:
    runner.stop()
    keyring.write_uses()
    services.celery.close()
    services.redis.close()
    services.mlflow.close()
    services.engine.dispose()
