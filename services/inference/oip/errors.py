"""Errors as the protocol has them: ``{"error": "..."}``, whoever found them, the route or what stands before it."""

import structlog
from pydantic_core import from_json, to_json
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.kit.problems import MEDIA_TYPE, InternalError, problem_response

log = structlog.get_logger(__name__)


class OipErrors:
    """ASGI middleware: below /v2 an answer that is a problem is sent as the protocol's error, its status and headers kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; a defect is answered here, since the app's own answer to it would not come by here."""
        if scope["type"] != "http" or not (scope["path"] == "/v2" or scope["path"].startswith("/v2/")):
            return await self._app(scope, receive, send)
        sender = _Translating(send)
        try:
            await self._app(scope, receive, sender)
        except Exception:
            if sender.begun:
                raise
            log.exception("http.unhandled", path=scope["path"], method=scope["method"])
            problem = InternalError("The request failed inside the service.")
            await problem_response(problem, scope["path"])(scope, receive, sender)


class _Translating:
    """Holds a problem back until it is complete."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""
        self.begun = False

    async def __call__(self, message: Message) -> None:
        self.begun = True
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._translated(self._start)

    async def _translated(self, start: Message) -> None:
        body = to_json({"error": from_json(self._body)["detail"]})
        kept = [(name, value) for name, value in start["headers"] if name.lower() not in (b"content-type", b"content-length")]
        headers = [*kept, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _is_problem(message: Message) -> bool:
    return message["status"] >= 400 and any(
        name.lower() == b"content-type" and value.startswith(MEDIA_TYPE.encode()) for name, value in message["headers"]
    )
