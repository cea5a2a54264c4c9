"""What the routes of the device API share: who asks, the body, the transaction, the answer.

FastAPI's way through dependencies and parameters takes half a millisecond, which is much beside a poll. So these routes take
the request alone, and what they declare is for their description only.
"""

import re
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from services.fleet.cameras.models import Camera
from services.fleet.ddi.admission import admit
from services.fleet.ddi.caller import caller_of, decoded
from services.fleet.runtime import get_services
from shared.kit.database import begin_reading
from shared.kit.limits import check_json
from shared.kit.problems import InvalidRequest, NotFound, Problem, field_errors, problem_responses

T = TypeVar("T")
Body = TypeVar("Body", bound=BaseModel)

Work = Callable[[Session, Camera, str], T]
"""What is done for a camera that was let in; the text is where its links start."""

_AUTHORIZATION: Final = {
    "name": "Authorization",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "description": "`TargetToken ...` or `GatewayToken ...`",
}


class DeviceRoute(APIRoute):
    """A route whose handler takes the request alone."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's place for another way to the endpoint."""
        return self.endpoint


async def admitted(request: Request, work: Work[T], *, reading: bool = False) -> T:
    """``work``, in one transaction, for the camera that asks. NotLetIn, and what reading the path may raise."""
    services = get_services(request)
    caller = caller_of(request, services.settings)

    def run() -> T:
        with services.sessions.begin() as session:
            if reading:
                begin_reading(session)
            camera = admit(session, caller)
            services.polls.heard(camera.id, caller.address)
            return work(session, camera, caller.root)

    return await run_in_threadpool(run)


async def body_as(request: Request, shape: type[Body]) -> Body:
    """The body, whatever type the device declares. InvalidJson, InvalidRequest."""
    return _validated(TypeAdapter(shape), await _json(request))


async def bodies_as(request: Request, shape: type[Body], *, most: int) -> list[Body]:
    """The body, or the list of them. InvalidJson, InvalidRequest."""
    content = await _json(request)
    if not content.lstrip().startswith(b"["):
        return [_validated(TypeAdapter(shape), content)]
    several: list[Body] = _validated(TypeAdapter(list[shape]), content)  # type: ignore[valid-type]
    if not 1 <= len(several) <= most:
        raise InvalidRequest.of_field("body", f"has {len(several)} entries", f"send 1 to {most} at once")
    return several


async def _json(request: Request) -> bytes:
    content = await request.body()
    check_json(content)  # devices may declare any type, and then nobody has looked yet
    return content


def _validated(adapter: TypeAdapter[T], content: bytes) -> T:
    try:
        return adapter.validate_json(content or b"null")
    except ValidationError as exc:
        errors = field_errors([{**error, "loc": ("body", *error["loc"])} for error in exc.errors()])
        raise InvalidRequest("; ".join(f"{e['field']}: {e['message']}" for e in errors[:3]), errors=errors[:20]) from exc


def segment(request: Request, name: str) -> str:
    """A parameter of the raw path as text. NotFound where its bytes are no text."""
    try:
        text = decoded(request.path_params[name])
    except UnicodeDecodeError as exc:
        raise NotFound("The path is not percent-encoded UTF-8.") from exc
    if "\0" in text:
        raise NotFound("The path has a NUL character.")
    return text


def rendered(answer: BaseModel | Problem | Response | None, *, status: int = 200) -> Response:
    """A message as JSON; nothing as an empty answer; a problem that was to be told after the commit is raised."""
    if isinstance(answer, Problem):
        raise answer
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=status)
    return Response(answer.model_dump_json(by_alias=True, exclude_none=True), status, media_type="application/json")


def described(
    route: str, *problems: type[Problem], body: type[BaseModel] | None = None, answer: type[BaseModel] | None = None
) -> dict[str, Any]:
    """The description of a route, for its decorator: path and header, body, answer and ``problems``."""
    names = re.findall(r"{(\w+)}", route)
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    extra: dict[str, Any] = {"parameters": [*parameters, _AUTHORIZATION]}
    if body is not None:
        schema = {"$ref": f"#/components/schemas/{body.__name__}"}
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"path": route, "response_model": answer, "responses": problem_responses(*problems), "openapi_extra": extra}
