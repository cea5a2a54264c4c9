"""What a request body may be, checked before any route sees it: its size, and JSON as RFC 8259 has it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.kit.problems import BadRequest, InvalidJson, PayloadTooLarge, Problem, problem_response

MAX_DEPTH: Final = 64
"""Of nested JSON: far above any message of ours, far below what exhausts a parser's stack."""


class RequestLimits:
    """ASGI middleware. ``max_bytes`` holds for all paths but those that start with a key of ``by_prefix`` or ``streamed``.

    Bodies declared as JSON are read whole and refused for NaN, Infinity, broken UTF-8, lone surrogates, NUL characters
    (which Postgres cannot store) and nesting beyond 64. Others, and all below a prefix in ``streamed``, are counted while
    they stream.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int,
        by_prefix: Mapping[str, int] | None = None,
        streamed: Mapping[str, int] | None = None,
    ) -> None:
        self._app, self._max_bytes = app, max_bytes
        self._streamed = streamed or {}
        self._by_prefix = {**(by_prefix or {}), **self._streamed}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once with a problem, or pass the request on."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        try:
            receive = await self._checked(scope, receive)
        except Problem as problem:
            return await problem_response(problem, scope["path"])(scope, receive, send)
        await self._app(scope, receive, send)

    async def _checked(self, scope: Scope, receive: Receive) -> Receive:
        limit = self._limit_of(scope["path"])
        headers = Headers(scope=scope)
        _check_target(scope)
        _check_length(headers.get("content-length"), limit)
        if scope["path"].startswith(tuple(self._streamed)) or not _is_json(headers.get("content-type", "")):
            return _counted(receive, limit)
        body = await _read(receive, limit)
        check_json(body)
        return _replayed(body, receive)

    def _limit_of(self, path: str) -> int:
        return next((limit for prefix, limit in self._by_prefix.items() if path.startswith(prefix)), self._max_bytes)


def check_json(body: bytes) -> None:
    """Raise InvalidJson unless ``body`` is empty or JSON that every part of the platform can store and send on."""
    if not body:
        return
    try:
        document = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise InvalidJson(f"The body is not valid JSON: {exc}.") from exc
    for value, depth in _walk(document):
        if depth > MAX_DEPTH:
            raise InvalidJson(f"The body is nested more than {MAX_DEPTH} levels deep.")
        if isinstance(value, str) and "\0" in value:
            raise InvalidJson("The body has a NUL character in a text.")
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidJson("The body has a number that no float can hold.")


def _walk(document: Any) -> Iterator[tuple[Any, int]]:
    waiting = [(document, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value, depth
        if isinstance(value, dict):
            waiting += [(part, depth + 1) for item in value.items() for part in item]
        elif isinstance(value, list):
            waiting += [(part, depth + 1) for part in value]


def _check_target(scope: Scope) -> None:
    if "\0" in scope["path"] or b"%00" in scope.get("query_string", b""):
        raise BadRequest("The URL has a NUL character.")


def _check_length(declared: str | None, limit: int) -> None:
    if declared is not None and (not declared.isdecimal() or int(declared[:20]) > limit):
        raise _too_large(limit)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body may have at most {limit} bytes here.", max_bytes=limit)


def _is_json(content_type: str) -> bool:
    mime = content_type.partition(";")[0].strip().lower()
    return mime == "application/json" or mime.endswith("+json")


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            # An HTTPException, since FastAPI turns anything else that a body raises into a 400.
            raise HTTPException(413, _too_large(limit).detail)
        return message

    return counted


async def _read(receive: Receive, limit: int) -> bytes:
    parts, seen, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client left before the body was complete.")
        parts.append(message.get("body", b""))
        seen += len(parts[-1])
        if seen > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed
