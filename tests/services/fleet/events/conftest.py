"""Events in the table, and readers of their stream."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.fleet.events.models import Event
from services.fleet.events.record import record
from services.fleet.runtime import Services
from shared.client.sse import server_events
from shared.contracts.keys import Scope
from shared.kit.auth import Actor
from shared.kit.database import db_now

ADA = Actor(key_id="a-key", name="ada", scope=Scope.OPERATOR)


@pytest.fixture
def tell(services: Services) -> Callable[..., None]:
    """Records an event in a transaction of its own."""

    def add(type_: str, **fields: Any) -> None:
        with services.sessions.begin() as session:
            record(session, type_, **fields)

    return add


@pytest.fixture
def put(services: Services) -> Callable[..., None]:
    """Adds an event with this seq and age, as another process may have."""

    def add(seq: int, *, seconds_ago: float = 0, actor: str | None = None) -> None:
        with services.sessions.begin() as session:
            at = db_now(session) - timedelta(seconds=seconds_ago)
            session.add(Event(seq=seq, at=at, type="a.b", actor=actor, detail={}))

    return add


class Reader:
    """Reads a stream in a thread until it has seen ``count`` events."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.seen: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._grown = threading.Condition()
        self._thread.start()

    def _read(self) -> None:
        try:
            for event in server_events(self.answer.iter_lines()):
                with self._grown:
                    self.seen.append(json.loads(event.data) | {"name": event.name, "id": event.id})
                    self._grown.notify_all()
        except (httpx.HTTPError, httpx.StreamError, OSError):
            return

    def stop(self) -> None:
        """Hang up. Closing the socket alone would wait for the thread that reads it."""
        self.answer.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def types(self, count: int, within_s: float = 10) -> list[str]:
        """The types of the first events, once there are so many."""
        with self._grown:
            self._grown.wait_for(lambda: len(self.seen) >= count, within_s)
            return [event["type"] for event in self.seen]


@pytest.fixture
def following(served: Any, viewer: dict[str, str]) -> Callable[..., Any]:
    """Opens a stream: a Reader for the block."""

    @contextmanager
    def follow(after: int | None = None, **params: Any) -> Iterator[Reader]:
        headers = viewer | ({} if after is None else {"Last-Event-ID": str(after)})
        with (
            httpx.Client(base_url=served.url, timeout=20) as client,
            client.stream("GET", "/v1/fleet/events/stream", headers=headers, params=params) as answer,
        ):
            assert answer.status_code == 200
            yield (reader := Reader(answer))
            reader.stop()

    return follow
