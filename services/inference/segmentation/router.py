"""Route of segmentation."""

from functools import partial
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from services.inference.engine.errors import DeadlineExceeded, Overloaded
from services.inference.engine.loaded import LoadedVersion
from services.inference.engine.served import DeploymentNotFound, DeploymentNotReady, Served
from services.inference.runtime import Services, get_services
from services.inference.segmentation.bodies import Asked, read_body
from services.inference.segmentation.errors import BadForm, BadImage, ImageTooLarge, UnsupportedBody
from services.inference.segmentation.service import Laps, segment
from shared.contracts.deployments import STICKY_HEADER
from shared.contracts.keys import Scope
from shared.contracts.segmentation import SegmentIn, SegmentOut, body_schema
from shared.kit.problems import (
    Forbidden,
    InvalidJson,
    InvalidRequest,
    PayloadTooLarge,
    Unauthorized,
    problem_responses,
)
from shared.kit.remote_keys import AtOnceRoute, KeysAway, requires_at_once

router = APIRouter(tags=["segmentation"], route_class=AtOnceRoute)

_AT_ONCE: Final = 1 << 20
"""Bytes of a body that are parsed on the event loop: in less time than a thread takes to begin."""

_STICKY: Final = {
    "name": STICKY_HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "the same value, the same version of the deployment's",
}
_PROBLEMS: Final = (
    BadForm, InvalidJson, Unauthorized, Forbidden, DeploymentNotFound, PayloadTooLarge, ImageTooLarge, UnsupportedBody,
    InvalidRequest, BadImage, Overloaded, DeploymentNotReady, KeysAway, DeadlineExceeded,
)  # fmt: skip


@router.post(
    "/v1/segment",
    response_model=SegmentOut,
    responses=problem_responses(*_PROBLEMS),
    openapi_extra={"requestBody": body_schema(SegmentIn), "parameters": [_STICKY]},
    dependencies=[requires_at_once(Scope.VIEWER)],
)
async def segment_image(request: Request) -> Response:
    """Masks of the objects that the prompts mean: points or boxes in pixels of the upright image."""
    services = get_services(request)
    body = await request.body()
    read = partial(read_body, request.headers.get("content-type", ""), body, SegmentIn)
    asked = read() if len(body) <= _AT_ONCE else await run_in_threadpool(read)
    served = services.table.get(asked.wanted.deployment)
    loaded = served.choose(request.headers.get(STICKY_HEADER))
    with services.metrics.counted(served.name, loaded.model):
        content = await _answered(services, served, loaded, asked)
    return Response(content, media_type="application/json")


async def _answered(services: Services, served: Served, loaded: LoadedVersion, asked: Asked[SegmentIn]) -> bytes:
    deadline_s = (asked.wanted.deadline_ms or served.spec.deadline_ms) / 1000
    laps = Laps()  # the queue begins here
    turn = await served.desk.do(lambda alone: segment(services, asked, served, loaded, laps, alone), deadline_s=deadline_s)
    if services.tracing is not None:
        services.tracing.stages(laps.seconds)
    return turn.result
