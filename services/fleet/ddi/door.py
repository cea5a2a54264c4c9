"""Where devices come in: paths are taken raw, and polls that find nothing changed are answered at once.

ASGI servers decode a path before anybody sees it, and then an encoded slash of a controller id is one like any other. So for
device paths the raw one is routed by. What most polls are answered is remembered (see ``polling.memory``); those pass by
everything else in the app, which costs several times as much as the answer.
"""

import re
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from services.fleet.ddi.caller import address_of, base_of, decoded
from services.fleet.polling.memory import Remembered
from services.fleet.runtime import Services
from shared.contracts.cameras import TENANT

_DEVICE_PATH: Final = re.compile(r"/[^/]*/controller/v1(/.*)?")
_POLL: Final = re.compile(rf"/{TENANT}/controller/v1/([^/]+)")


class DeviceDoor:
    """ASGI middleware, the outermost: what it answers leaves no line in the log, and counts as a poll alone."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or pass on with the path as it was sent."""
        if scope["type"] == "http":
            path = (scope.get("raw_path") or b"").decode("latin-1")
            if _DEVICE_PATH.fullmatch(path) and "\0" not in scope["path"]:
                if (answer := _from_memory(scope, path)) is not None:
                    return await _send(answer, send)
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)


def _from_memory(scope: Scope, path: str) -> list[dict[str, Any]] | None:
    match = _POLL.fullmatch(path)
    if match is None or scope["method"] != "GET":
        return None
    services: Services = scope["app"].state.services
    headers = dict(scope["headers"])
    try:
        controller_id = decoded(match[1])
    except UnicodeDecodeError:
        return None
    base = base_of(scope, headers, services.settings)
    known = services.polls.recall(controller_id, headers.get(b"authorization", b""), base)
    if known is None:
        return None
    services.polls.heard(known.camera_id, address_of(scope))
    unchanged = headers.get(b"if-none-match") == known.etag
    services.metrics.polls.labels("memory_unchanged" if unchanged else "memory").inc()
    return _answer(known, unchanged)


def _answer(known: Remembered, unchanged: bool) -> list[dict[str, Any]]:
    """As ASGI messages."""
    body = b"" if unchanged else known.body
    headers = [(b"etag", known.etag)]
    if not unchanged:
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": 304 if unchanged else 200, "headers": headers}
    return [start, {"type": "http.response.body", "body": body}]


async def _send(messages: list[dict[str, Any]], send: Send) -> None:
    for message in messages:
        await send(message)
