"""Is the process there, is what it needs there, and what does it count."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.jobs.health import service
from services.jobs.runtime import ServicesDep
from shared.contracts.keys import Scope
from shared.kit.auth import requires

router = APIRouter(tags=["health"])


@router.get("/healthz")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(services: ServicesDep) -> JSONResponse:
    """What the service needs, each by name. 503 only without the database: without the others it buffers and goes on."""
    readiness = service.check(services)
    return JSONResponse(readiness.model_dump(), 200 if readiness.can_serve else 503)


@router.get("/metrics", dependencies=[requires(Scope.VIEWER)])
def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
