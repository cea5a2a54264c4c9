"""The Open Inference Protocol v2 over HTTP. Errors of all routes below /v2 are ``{"error": "..."}`` (``OipErrors``)."""

from collections.abc import Callable, Coroutine
from functools import partial
from importlib.metadata import version as installed
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from services.inference.oip import health, model_repository, versions
from services.inference.oip.inference import Target, infer
from services.inference.oip.messages import HEADER_LENGTH, InferAnswer, decode, encode, member, parse
from services.inference.runtime import ServicesDep, get_services
from shared.contracts.deployments import STICKY_HEADER
from shared.contracts.keys import Scope
from shared.kit.auth import OperatorActor, requires
from shared.kit.problems import BadRequest
from shared.kit.remote_keys import AtOnceRoute, requires_at_once

router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
infer_router = APIRouter(prefix="/v2", tags=["Open Inference Protocol"])
"""Inference alone, to be looked at before other routers: finding a route among many takes half a millisecond."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_TENSORS: Final = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "datatype", "shape"],
                "properties": {
                    "name": {"type": "string"},
                    "datatype": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "parameters": {"type": "object"},
                    "data": {"type": "array", "items": {}},
                },
            },
        },
        "outputs": {"type": "array", "items": {"type": "object"}},
    },
}
_INFER_BODY: Final = {
    "required": True,
    "content": {
        "application/json": {"schema": _TENSORS},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_ERROR: Final[dict[int | str, dict[str, Any]]] = {
    status: {
        "description": "Error",
        "content": {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}},
    }
    for status in ("4XX", "5XX")
}


_VIEWER: Final = [requires_at_once(Scope.VIEWER)]


def _of_model(method: str, suffix: str = "", *, among: APIRouter = router, **extra: Any) -> Callable[[Handler], Handler]:
    """Register a handler for a model, and for one version of it."""

    def register(handler: Handler) -> Handler:
        for path, names in (("/models/{model}", ["model"]), ("/models/{model}/versions/{version}", ["model", "version"])):
            parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
            described = {"parameters": parameters} | extra
            among.add_api_route(
                path + suffix,
                handler,
                methods=[method],
                dependencies=_VIEWER,
                responses=_ERROR,
                openapi_extra=described,
                route_class_override=AtOnceRoute,
            )
        return handler

    return register


@router.get("", dependencies=_VIEWER, responses=_ERROR)
async def server_metadata() -> dict[str, Any]:
    """The server's name, version and extensions of the protocol."""
    return versions.server(installed("picofleet"))


@router.get("/health/live")
async def live() -> dict[str, bool]:
    """The process answers."""
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> JSONResponse:
    """Requests can be answered; 503 if not."""
    is_ready = await health.is_ready(request.app)
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@_of_model("GET")
async def model_metadata(request: Request) -> Response:
    """The model's versions and tensors."""
    target = _target(request)
    return JSONResponse(versions.metadata(get_services(request).table.get(target.model), target.version))


@_of_model("GET", "/ready")
async def model_ready(request: Request) -> Response:
    """The model is loaded; 404 or 503 if not."""
    target = _target(request)
    versions.check(get_services(request).table.get(target.model), target.version)
    return JSONResponse({"name": target.model, "ready": True})


@_of_model("GET", "/config")
async def model_configuration(request: Request) -> Response:
    """The model's configuration as Triton's clients read it."""
    target = _target(request)
    return JSONResponse(versions.configuration(get_services(request).table.get(target.model), target.version))


@_of_model("POST", "/infer", among=infer_router, requestBody=_INFER_BODY)
async def model_infer(request: Request) -> Response:
    """Logits of windows. Tensors may be JSON or, by the binary tensor data extension, bytes behind it."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise BadRequest("Compressed requests are not offered; send the body as it is.")
    body, target = await request.body(), _target(request)
    answer: InferAnswer = await infer(
        get_services(request),
        target,
        partial(decode, body, request.headers.get(HEADER_LENGTH)),
        lambda wanted, called, logits: encode(wanted, model=target.model, version=called, logits=logits),
    )
    return Response(answer.body, headers=answer.headers)


@router.post("/repository/index", dependencies=_VIEWER, responses=_ERROR)
async def repository_index(request: Request) -> JSONResponse:
    """Deployments, and the registered models that could be loaded. ``{"ready": true}``: the deployments alone."""
    message = await _message(request)
    entries = await model_repository.index(get_services(request), ready_alone=member(message, "ready", bool, False))
    return JSONResponse([entry.as_json() for entry in entries])


@router.post("/repository/models/{model}/load", responses=_ERROR)
async def repository_load(model: str, request: Request, services: ServicesDep, actor: OperatorActor) -> JSONResponse:
    """Deploy a registered model under its own name, and wait until it serves.

    Of ``{"parameters": {"version": "3"}}`` this version, else that of the alias champion, else the newest one.
    """
    parameters = member(await _message(request), "parameters", dict, {})
    await model_repository.load(services, model, version=member(parameters, "version", str, None), by=actor.name)
    return JSONResponse({})


@router.post("/repository/models/{model}/unload", dependencies=[requires(Scope.OPERATOR)], responses=_ERROR)
async def repository_unload(model: str, services: ServicesDep) -> JSONResponse:
    """Delete the deployment of this name. Requests that are being answered are answered."""
    await model_repository.unload(services, model)
    return JSONResponse({})


def _target(request: Request) -> Target:
    named = request.path_params
    return Target(model=named["model"], version=named.get("version", ""), key=request.headers.get(STICKY_HEADER))


async def _message(request: Request) -> dict[str, Any]:
    body = await request.body()
    return parse(body) if body else {}
