"""The Open Inference Protocol v2 over gRPC, in the app's event loop. Imported only where it is wanted: gRPC takes 0.4 s.

The messages are those of tritonclient's stubs; methods that are not in ``_METHODS`` are answered with UNIMPLEMENTED.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version as installed
from typing import Any, Final

import grpc
import structlog
from fastapi import FastAPI
from google.protobuf import json_format
from tritonclient.grpc import service_pb2 as pb

from services.inference.engine.served import DeploymentNotFound, DeploymentNotReady
from services.inference.oip import health, model_repository, versions
from services.inference.oip.grpc_messages import decode, encode
from services.inference.oip.inference import Target, infer
from services.inference.runtime import Services
from shared.contracts.deployments import STICKY_HEADER
from shared.contracts.keys import Scope
from shared.kit.auth import Actor, check_scope
from shared.kit.problems import BadRequest, Problem
from shared.kit.remote_keys import admitted

log = structlog.get_logger(__name__)

_SERVICE: Final = "inference.GRPCInferenceService"
_GRACE_S: Final = 5
_MOST_DETAIL: Final = 1000
"""Characters: what goes into a trailer must fit there, or the client sees another error than ours."""

_CODES: Final = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class _Call:
    """One request and who sent it."""

    app: FastAPI
    message: Any
    metadata: dict[str, str | bytes]
    remaining_s: float | None
    """Until the client gives up; None: never."""
    actor: Actor | None

    @property
    def services(self) -> Services:
        """Of the app."""
        services: Services = self.app.state.services
        return services


Handler = Callable[[_Call], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class _Method:
    handler: Handler
    request: Any
    scope: Scope | None
    """None: without a key."""


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A running server."""

    server: Any
    port: int

    async def stop(self) -> None:
        """Take no more requests; those that are being answered have a few seconds."""
        await self.server.stop(_GRACE_S)


async def start(app: FastAPI, *, host: str, port: int, max_bytes: int) -> GrpcServer:
    """Listen at a port, 0: a free one. OSError if it is taken."""
    options = [
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.so_reuseport", 0),  # a second process must not share the port without anyone's knowledge
    ]
    server = grpc.aio.server(options=options)
    handlers = {name: _rpc(app, name, method) for name, method in _METHODS.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as exc:
        raise OSError(f"gRPC cannot listen at {host}:{port}: {exc}") from exc
    await server.start()
    log.info("grpc.start", host=host, port=bound)
    return GrpcServer(server, bound)


def _rpc(app: FastAPI, name: str, method: _Method) -> Any:
    return grpc.unary_unary_rpc_method_handler(
        partial(_answer, app, name, method),
        request_deserializer=method.request.FromString,
        response_serializer=lambda answer: answer.SerializeToString(),
    )


async def _answer(app: FastAPI, name: str, method: _Method, message: Any, context: Any) -> Any:
    try:
        return await method.handler(await _call(app, method, message, context))
    except Problem as problem:
        await _refuse(context, problem)
    except Exception:  # a defect: the client learns nothing of the inside, the log does
        log.exception("grpc.unhandled", method=name)
        await context.abort(grpc.StatusCode.INTERNAL, "The request failed inside the service.")


async def _call(app: FastAPI, method: _Method, message: Any, context: Any) -> _Call:
    metadata = dict(context.invocation_metadata() or ())
    actor = None
    if method.scope is not None:
        actor = check_scope(await admitted(app.state.keys, _text(metadata, "authorization")), method.scope)
    return _Call(app, message, metadata, context.time_remaining(), actor)


async def _refuse(context: Any, problem: Problem) -> None:
    code = _CODES.get(problem.status, grpc.StatusCode.INTERNAL)
    headers = tuple((name.lower(), value) for name, value in problem.headers.items())
    await context.abort(code, problem.detail[:_MOST_DETAIL], headers)


def _text(metadata: dict[str, str | bytes], name: str) -> str | None:
    value = metadata.get(name)
    return value if isinstance(value, str) else None


async def _server_live(call: _Call) -> Any:
    del call
    return pb.ServerLiveResponse(live=True)


async def _server_ready(call: _Call) -> Any:
    return pb.ServerReadyResponse(ready=await health.is_ready(call.app))


async def _server_metadata(call: _Call) -> Any:
    del call
    return pb.ServerMetadataResponse(**versions.server(installed("picofleet")))


async def _model_ready(call: _Call) -> Any:
    try:
        versions.check(call.services.table.get(call.message.name), call.message.version)
    except (DeploymentNotFound, DeploymentNotReady, versions.VersionNotServed):
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=True)


async def _model_metadata(call: _Call) -> Any:
    known = versions.metadata(call.services.table.get(call.message.name), call.message.version)
    # The message has no place for parameters; the configuration has them.
    del known["parameters"]
    return json_format.ParseDict(known, pb.ModelMetadataResponse())


async def _model_config(call: _Call) -> Any:
    known = versions.configuration(call.services.table.get(call.message.name), call.message.version)
    return json_format.ParseDict({"config": known}, pb.ModelConfigResponse())


async def _model_infer(call: _Call) -> Any:
    wanted = call.message
    key = _text(call.metadata, STICKY_HEADER.lower())
    return await infer(
        call.services,
        Target(model=wanted.model_name, version=wanted.model_version, key=key),
        partial(decode, wanted),
        lambda request, called, logits: encode(request, model=wanted.model_name, version=called, logits=logits),
        within_s=call.remaining_s,
    )


async def _repository_index(call: _Call) -> Any:
    entries = await model_repository.index(call.services, ready_alone=call.message.ready)
    return json_format.ParseDict({"models": [entry.as_json() for entry in entries]}, pb.RepositoryIndexResponse())


async def _repository_load(call: _Call) -> Any:
    assert call.actor is not None
    asked = call.message.parameters
    if "version" in asked and asked["version"].WhichOneof("parameter_choice") != "string_param":
        raise BadRequest("The parameter version must be a text.")
    version = asked["version"].string_param if "version" in asked else None
    await model_repository.load(call.services, call.message.model_name, version=version, by=call.actor.name)
    return pb.RepositoryModelLoadResponse()


async def _repository_unload(call: _Call) -> Any:
    await model_repository.unload(call.services, call.message.model_name)
    return pb.RepositoryModelUnloadResponse()


_METHODS: Final = {
    "ServerLive": _Method(_server_live, pb.ServerLiveRequest, None),
    "ServerReady": _Method(_server_ready, pb.ServerReadyRequest, None),
    "ServerMetadata": _Method(_server_metadata, pb.ServerMetadataRequest, Scope.VIEWER),
    "ModelReady": _Method(_model_ready, pb.ModelReadyRequest, Scope.VIEWER),
    "ModelMetadata": _Method(_model_metadata, pb.ModelMetadataRequest, Scope.VIEWER),
    "ModelConfig": _Method(_model_config, pb.ModelConfigRequest, Scope.VIEWER),
    "ModelInfer": _Method(_model_infer, pb.ModelInferRequest, Scope.VIEWER),
    "RepositoryIndex": _Method(_repository_index, pb.RepositoryIndexRequest, Scope.VIEWER),
    "RepositoryModelLoad": _Method(_repository_load, pb.RepositoryModelLoadRequest, Scope.OPERATOR),
    "RepositoryModelUnload": _Method(_repository_unload, pb.RepositoryModelUnloadRequest, Scope.OPERATOR),
}
