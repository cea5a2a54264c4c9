"""Errors that a client may see, and their one rendering: application/problem+json (RFC 9457).

Problem
├── BadRequest 400 ── InvalidJson
├── Unauthorized 401
├── Forbidden 403
├── NotFound 404
├── MethodNotAllowed 405
├── Conflict 409
├── PayloadTooLarge 413
├── RangeNotSatisfiable 416
├── InvalidRequest 422
├── TooManyRequests 429
├── InternalError 500
└── Unavailable 503
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.contracts.problems import FieldError, ProblemDetails

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """Any failure a client may see. A subclass per situation that a caller may treat differently.

    ``detail`` says what is wrong with this request; ``members`` are further members of the answer. A member named
    ``hint`` (or the class's own) says what would be right.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    hint: ClassVar[str | None] = None

    def __init__(self, detail: str, /, **members: Any) -> None:
        super().__init__(detail)
        self.detail, self.members = detail, members

    @property
    def type(self) -> str:
        """The relative reference that names this kind of problem, as ``/problems/not-found``."""
        return type_of(type(self))

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer."""
        return {}


def type_of(problem: type[Problem]) -> str:
    """The ``type`` member of ``problem``: ``/problems/`` and the class name in kebab case."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", problem.__name__)
    return f"/problems/{words.lower()}"


class BadRequest(Problem):
    """The request cannot be understood."""

    status, title = 400, "Bad request"


class InvalidJson(BadRequest):
    """The body is not JSON as RFC 8259 has it: NaN, lone surrogates, NUL characters and deep nesting included."""

    title = "Body is not valid JSON"


class Unauthorized(Problem):
    """No key, or one that is unknown, revoked or expired: which of them is not told."""

    status, title = 401, "Unauthorized"
    hint = "send a valid key as `Authorization: Bearer pf_...`"

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 9110 asks for."""
        return {"WWW-Authenticate": 'Bearer realm="picofleet"'}


class Forbidden(Problem):
    """The key is good but its scope does not reach."""

    status, title = 403, "Forbidden"


class NotFound(Problem):
    """There is no such thing."""

    status, title = 404, "Not found"


class MethodNotAllowed(Problem):
    """The route exists, the method does not."""

    status, title = 405, "Method not allowed"


class Conflict(Problem):
    """The request does not fit the state of things."""

    status, title = 409, "Conflict"


class PayloadTooLarge(Problem):
    """The body is larger than the route takes."""

    status, title = 413, "Payload too large"


class RangeNotSatisfiable(Problem):
    """The range lies outside. Give ``size_bytes`` as a member."""

    status, title = 416, "Range not satisfiable"

    @property
    def headers(self) -> dict[str, str]:
        """Tells the real size, as RFC 9110 asks."""
        return {"Content-Range": f"bytes */{self.members['size_bytes']}"}


class InvalidRequest(Problem):
    """Understood, but some values are wrong: ``errors`` lists field, message and what would be right."""

    status, title = 422, "Invalid request"

    @classmethod
    def of_field(cls, field: str, message: str, hint: str | None = None) -> "InvalidRequest":
        """One wrong field, named as validation names it: ``body.train.0.dataset``."""
        error = FieldError(field=field, message=message, hint=hint).model_dump(exclude_none=True)
        return cls(f"{field}: {message}", errors=[error])


class TooManyRequests(Problem):
    """Come back later."""

    status, title = 429, "Too many requests"


class InternalError(Problem):
    """A defect of ours. The answer tells nothing of the inside; the log does."""

    status, title = 500, "Internal error"
    hint = "this is a defect of the service; its log has the details under this request_id"


class Unavailable(Problem):
    """Something that the service needs is away. ``retry_after_s`` is a member; 5 unless given."""

    status, title = 503, "Unavailable"
    hint = "try again after the time in Retry-After"

    @property
    def headers(self) -> dict[str, str]:
        """When to come back, in whole seconds."""
        return {"Retry-After": str(self.members.get("retry_after_s", 5))}


_BY_STATUS: Mapping[int, type[Problem]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: MethodNotAllowed,
    409: Conflict,
    413: PayloadTooLarge,
    422: InvalidRequest,
    429: TooManyRequests,
    503: Unavailable,
}


def problem_response(problem: Problem, instance: str) -> JSONResponse:
    """``problem`` as an HTTP answer to a request for the path ``instance``."""
    standard = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
    }
    hint = {"hint": problem.hint} if problem.hint else {}
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    traced = {"request_id": request_id} if request_id else {}
    # In this order a further member cannot mask a standard one.
    body = jsonable_encoder(hint | traced | problem.members | standard)
    return JSONResponse(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def problem_responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route that may answer with ``problems``, for its OpenAPI entry."""
    by_status: dict[int, list[type[Problem]]] = {}
    for problem in problems:
        by_status.setdefault(problem.status, []).append(problem)
    schema = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        status: {
            "description": " or ".join(f"{p.title} (`{type_of(p)}`)" for p in group),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, group in by_status.items()
    }


_HINTS: Mapping[str, str] = {
    "extra_forbidden": "remove this field or correct its spelling",
    "missing": "this field is required",
}


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Pydantic's errors as field, message and hint: never the value sent, which may be a secret."""
    return [_field_error(error).model_dump(exclude_none=True) for error in errors]


def _field_error(error: Mapping[str, Any]) -> FieldError:
    message = str(error["msg"]).removeprefix("Value error, ")
    return FieldError(field=".".join(str(part) for part in error["loc"]), message=message, hint=_hint_of(error))


def _hint_of(error: Mapping[str, Any]) -> str | None:
    given = {name: value for name, value in error.get("ctx", {}).items() if name != "error"}
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in given.items())
    return _HINTS.get(error["type"]) or (f"expected: {told}" if told else None)


def _render(request: Request, exc: Exception) -> Response:
    return problem_response(cast(Problem, exc), request.url.path)


def _render_invalid(request: Request, exc: Exception) -> Response:
    raw = cast(RequestValidationError, exc).errors()
    if raw and raw[0]["type"] == "json_invalid":
        return problem_response(InvalidJson(f"The body is not valid JSON: {raw[0]['msg']}."), request.url.path)
    errors = field_errors(raw)
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors[:3])
    return problem_response(InvalidRequest(detail, errors=errors), request.url.path)


def _render_http(request: Request, exc: Exception) -> Response:
    http = cast(HTTPException, exc)
    if http.status_code not in _BY_STATUS:
        return problem_response(InternalError("The request failed."), request.url.path)
    detail = {
        404: f"There is no route {request.url.path}.",
        405: f"{request.method} is not allowed on {request.url.path}.",
    }.get(http.status_code, str(http.detail))
    response = problem_response(_BY_STATUS[http.status_code](detail), request.url.path)
    response.headers.update(http.headers or {})
    return response


def _render_defect(request: Request, exc: Exception) -> Response:
    log.error("http.unhandled", path=request.url.path, method=request.method, exc_info=exc)
    return problem_response(InternalError("The request failed inside the service."), request.url.path)


def _render_left(request: Request, exc: Exception) -> Response:
    # Nobody reads this answer, and a client that leaves is no defect of ours.
    del exc
    return problem_response(BadRequest("The client left before the body was complete."), request.url.path)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error answer of ``app`` a problem, from a wrong route to a defect."""
    app.add_exception_handler(Problem, _render)
    app.add_exception_handler(RequestValidationError, _render_invalid)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(ClientDisconnect, _render_left)
    app.add_exception_handler(Exception, _render_defect)


def describe_problems(app: FastAPI, *models: type[BaseModel]) -> None:
    """Put the shape of problems into the OpenAPI description of ``app``, where ``problem_responses`` points.

    So with ``models``: messages that routes read by hand and name in their ``openapi_extra``.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        schema = plain()
        definitions = schema.setdefault("components", {}).setdefault("schemas", {})
        described: tuple[type[BaseModel], ...] = (ProblemDetails, *models)
        for model in described:
            shape = model.model_json_schema(ref_template="#/components/schemas/{model}")
            definitions |= shape.pop("$defs", {}) | {model.__name__: shape}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the schema
