"""Where devices come in: paths are taken raw, and almost all polls are answered at once.

ASGI servers decode a path before anybody sees it, and then an encoded slash of a controller id is one like any other. So for
device paths the raw one is routed by. What most polls are answered is remembered (see ``polling.memory``), and for others one
row says it (see ``reads``); those pass by everything else in the app, which costs several times as much as the answer.
"""

import re
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Receive, Scope, Send

from services.fleet.ddi.caller import HeaderMap, address_of, base_of, caller_in, decoded
from services.fleet.ddi.polls import PollAnswer, answer_known
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
        """Answer a poll, or pass on with the path as it was sent."""
        if scope["type"] == "http":
            path = (scope.get("raw_path") or b"").decode("latin-1")
            if _DEVICE_PATH.fullmatch(path) and "\0" not in scope["path"]:
                if (answer := await _answer(scope, path)) is not None:
                    return await _send(answer, send)
                scope = {**scope, "path": path}
        await self._app(scope, receive, send)


async def _answer(scope: Scope, path: str) -> list[dict[str, Any]] | None:
    """None: it is not a poll, or one that takes more than memory and a row."""
    match = _POLL.fullmatch(path)
    if match is None or scope["method"] != "GET":
        return None
    try:
        controller_id = decoded(match[1])
    except UnicodeDecodeError:
        return None
    services: Services = scope["app"].state.services
    headers = dict(scope["headers"])
    found: Remembered | PollAnswer | None = _remembered(services, scope, headers, controller_id)
    source = "memory"
    if found is None:
        found, source = await _known(services, scope, headers, controller_id), "database"
    return None if found is None else _messages(services, found, source, headers.get(b"if-none-match"))


def _remembered(services: Services, scope: Scope, headers: HeaderMap, controller_id: str) -> Remembered | None:
    base = base_of(scope, headers, services.settings)
    known = services.polls.recall(controller_id, headers.get(b"authorization", b""), base)
    if known is not None:
        services.polls.heard(known.camera_id, address_of(scope))
    return known


async def _known(services: Services, scope: Scope, headers: HeaderMap, controller_id: str) -> PollAnswer | None:
    try:
        return await answer_known(services, caller_in(scope, headers, services.settings, controller_id))
    except SQLAlchemyError:
        return None  # the app finds out once more, and knows how to say so


def _messages(services: Services, found: Remembered | PollAnswer, source: str, unless: bytes | None) -> list[dict[str, Any]]:
    """As ASGI messages; the poll is counted."""
    unchanged = unless == found.etag
    services.metrics.polls.labels(f"{source}_unchanged" if unchanged else source).inc()
    body = b"" if unchanged else found.body
    headers = [(b"etag", found.etag)]
    if not unchanged:
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    start = {"type": "http.response.start", "status": 304 if unchanged else 200, "headers": headers}
    return [start, {"type": "http.response.body", "body": body}]


async def _send(messages: list[dict[str, Any]], send: Send) -> None:
    for message in messages:
        await send(message)
