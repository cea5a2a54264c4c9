"""The camera's side of the device API: one exchange at a time, bounded in size and time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from services.camera import VERSION
from services.camera.errors import NoSuchAction, NotLetIn, Unreachable
from services.camera.messages import CancelAction, DeploymentBase, Poll

MOST_BYTES: Final = 1 << 20
"""Of an answer that is no file."""
TIMEOUT: Final = httpx.Timeout(30, connect=10)
_GONE: Final = (404, 409, 410)

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that is no file."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300

    @property
    def words(self) -> str:
        """For the log."""
        return f"{self.status} {self.body[:200].decode('utf-8', 'replace')}".strip()


class Wire:
    """``authorization`` is the header's value, read anew at every use, since tokens are exchanged. It is shown to the origin of
    ``url`` alone: links may lead elsewhere, as to a CDN.
    """

    def __init__(
        self,
        url: str,
        tenant: str,
        controller_id: str,
        authorization: Callable[[], str],
        *,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._origin = _origin(httpx.URL(url))
        self.root = f"{url.rstrip('/')}/{quote(tenant, safe='')}/controller/v1/{quote(controller_id, safe='')}"
        self._authorization, self._monotonic = authorization, monotonic
        headers = {"User-Agent": f"picofleet-camera/{VERSION}", "Accept": "application/hal+json, application/json"}
        self._http = httpx.Client(timeout=TIMEOUT, headers=headers, transport=transport, follow_redirects=False)
        self._server_time: tuple[datetime, float] | None = None

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def now(self) -> datetime:
        """The server's time if it was told, else the camera's own, which may be anything: a Pi has no clock that runs on."""
        if self._server_time is None:
            return datetime.now(UTC)
        told, at = self._server_time
        return told + timedelta(seconds=self._monotonic() - at)

    @property
    def knows_the_time(self) -> bool:
        """Whether ``now`` is the server's."""
        return self._server_time is not None

    def poll(self, etag: str | None) -> tuple[Poll, str | None] | None:
        """What there is to do and its ETag; None if that is what it was. Unreachable, NotLetIn."""
        reply = self.ask("GET", "", headers={"If-None-Match": etag} if etag else {})
        if reply.status == 304:
            return None
        return _read(Poll, self._good(reply)), reply.headers.get("etag")

    def deployment(self, href: str) -> DeploymentBase:
        """What is to be installed. NoSuchAction, Unreachable."""
        return _read(DeploymentBase, self._good(self.ask("GET", href)))

    def cancel(self, href: str) -> CancelAction:
        """What is to stop. NoSuchAction, Unreachable."""
        return _read(CancelAction, self._good(self.ask("GET", href)))

    def ask(self, method: str, place: str, json: Any = None, *, headers: dict[str, str] | None = None) -> Reply:
        """``place``: a URL, or below the camera's own. Unreachable, also for 5xx and 429; NotLetIn; else the answer."""
        with self.streaming(method, place, json, headers=headers) as answer:
            return Reply(answer.status_code, answer.headers, _bounded(answer))

    @contextmanager
    def streaming(
        self, method: str, place: str, json: Any = None, *, headers: dict[str, str] | None = None
    ) -> Iterator[httpx.Response]:
        """As ``ask``, with the body still to be read; what breaks while it is read is Unreachable too."""
        url = place if place.startswith(("http://", "https://")) else self.root + (f"/{place}" if place else "")
        try:
            with self._http.stream(method, url, json=json, headers={**self._shown(url), **(headers or {})}) as answer:
                self._learn_time(url, answer)
                self._check(answer)
                yield answer
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            raise Unreachable(f"{type(exc).__name__}: {exc}"[:300]) from exc

    def _shown(self, url: str) -> dict[str, str]:
        try:
            is_home = _origin(httpx.URL(url)) == self._origin
        except httpx.InvalidURL as exc:
            raise Unreachable(f"the server gave a link that is none: {url[:100]!r}") from exc
        return {"Authorization": self._authorization()} if is_home else {}

    def _learn_time(self, url: str, answer: httpx.Response) -> None:
        if _origin(httpx.URL(url)) != self._origin:
            return
        try:
            told = parsedate_to_datetime(answer.headers["date"])
        except (KeyError, ValueError, TypeError):
            return
        self._server_time = told if told.tzinfo else told.replace(tzinfo=UTC), self._monotonic()

    def _check(self, answer: httpx.Response) -> None:
        status = answer.status_code
        if status in {401, 403}:
            raise NotLetIn(f"the server answers {status}: it does not know the camera, or not by this token")
        if status >= 500 or status in {408, 425, 429}:
            raise Unreachable(f"the server answers {status}", retry_after_s=_retry_after_s(answer))

    def _good(self, reply: Reply) -> Reply:
        if reply.status in _GONE:
            raise NoSuchAction(reply.words)
        if not reply.is_success:
            raise Unreachable(f"the server answers {reply.words}")
        return reply


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _bounded(answer: httpx.Response) -> bytes:
    body = bytearray()
    for piece in answer.iter_bytes():
        body += piece
        if len(body) > MOST_BYTES:
            raise Unreachable(f"the server sent more than {MOST_BYTES:,} bytes")
    return bytes(body)


def _retry_after_s(answer: httpx.Response) -> float | None:
    told = answer.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdecimal() and len(told) < 8 else None


def _read(kind: type[M], reply: Reply) -> M:
    try:
        return kind.model_validate_json(reply.body)
    except ValidationError as exc:
        raise Unreachable(f"the server sent no {kind.__name__}") from exc
