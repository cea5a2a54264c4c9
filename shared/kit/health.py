"""Is the process there, is what it needs there, and what does it count: the same three routes in every service.

The app provides ``app.state.probes``: by name, functions that raise where something is away; ``app.state.needed``: the names
without which no request can be answered; and ``app.state.registry``.
"""

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel

from shared.contracts.keys import Scope
from shared.kit.auth import requires

log = structlog.get_logger(__name__)

Probes = Mapping[str, Callable[[], None]]

router = APIRouter(tags=["health"])


class Readiness(BaseModel):
    """``status``: ok, degraded (what is away can be done without) or failed. ``components``: ok or failed, by name."""

    status: str
    components: dict[str, str]


@router.get("/healthz")
def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
def ready(request: Request) -> JSONResponse:
    """What the service needs, each by name. 503 only where requests cannot be answered; without the rest it goes on."""
    readiness = check(request.app.state.probes, request.app.state.needed)
    return JSONResponse(readiness.model_dump(), 503 if readiness.status == "failed" else 200)


@router.get("/metrics", dependencies=[requires(Scope.VIEWER)])
def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)


def check(probes: Probes, needed: Collection[str]) -> Readiness:
    """Ask all at once; a probe should answer within about two seconds."""
    with ThreadPoolExecutor(len(probes)) as pool:
        answers = {name: pool.submit(_ask, name, probe) for name, probe in probes.items()}
    components = {name: answer.result() for name, answer in answers.items()}
    return Readiness(status=_sum_up(components, needed), components=components)


def _sum_up(components: Mapping[str, str], needed: Collection[str]) -> str:
    away = {name for name, state in components.items() if state != "ok"}
    if away & set(needed):
        return "failed"
    return "degraded" if away else "ok"


def _ask(name: str, probe: Callable[[], None]) -> str:
    try:
        probe()
    except Exception as exc:  # whatever it is, the component is not ready; the log says why
        log.warning("ready.failed", component=name, error=str(exc))
        return "failed"
    return "ok"
