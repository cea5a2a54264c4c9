"""One log line and one metric sample per request, and the request's id in every log line and answer."""

import re
import time
from collections.abc import Collection
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.contracts.base import new_id

log = structlog.get_logger(__name__)

REQUEST_ID: Final = "X-Request-ID"
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})


class Observed:
    """ASGI middleware. Metrics are labelled by route template, not by path, so that labels have few values.

    ``unlogged``: route templates whose successful answers are counted but leave no line: there are hundreds a second.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry, unlogged: Collection[str] = ()) -> None:
        self._app, self._unlogged = app, frozenset(unlogged)
        labels = ["method", "route", "status"]
        self._requests = Counter("picofleet_http_requests", "Requests answered", labels, registry=registry)
        self._seconds = Histogram("picofleet_http_seconds", "Time to the answer's last byte", labels[:2], registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Bind the id, pass on, then count and log."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id = _request_id(scope)
        status = 500
        started = time.perf_counter()

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, tagged)
            finally:
                self._note(scope, status, time.perf_counter() - started)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self._requests.labels(scope["method"], route, str(status)).inc()
        self._seconds.labels(scope["method"], route).observe(seconds)
        if scope["path"] not in _QUIET and (status >= 400 or route not in self._unlogged):
            log.info("http.answered", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID, "")
    return given if re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given) else new_id()
