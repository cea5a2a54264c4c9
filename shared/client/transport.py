"""One HTTP connection to a Picofleet service: authentication, retries, problems."""

import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from shared.client.errors import ClientError, NotReachable, ProblemError, UnexpectedAnswer
from shared.contracts.base import new_id
from shared.contracts.problems import ProblemDetails

RETRIES: Final = 4
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 10.0
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_LATER: Final = frozenset({429, 503})
_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})

FilePart: TypeAlias = tuple[str | None, bytes, str]
"""A part of a multipart request: file name, content, media type."""


def is_loopback(url: str) -> bool:
    """True if ``url`` names this machine's loopback interface."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> str:
    """``url`` without a trailing slash; ClientError unless it is http(s) with a host."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise ClientError(f"{url!r} is not a URL of a service.", hint="Give it as http://host:port or https://host.")
    return url.rstrip("/")


class Transport:
    """Sends requests to one service and gives back checked answers. Thread-safe, as httpx.Client is."""

    def __init__(self, url: str, api_key: str | None, *, timeout_s: float = 30.0, retries: int = RETRIES) -> None:
        self.url = checked_url(url)
        self.retries = retries
        headers = {"User-Agent": "picofleet-client", "Accept": "application/json"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        # A proxy from the environment must not stand between us and a service on this machine.
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout_s, connect=5.0), trust_env=not is_loopback(url)
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        files: Mapping[str, FilePart] | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer to a request that succeeded. ``files`` makes it a multipart request.

        Every POST carries an Idempotency-Key (that of ``headers``, else a new one), so that it may be repeated when its
        answer was lost.
        Raises ProblemError for a refusal and NotReachable if nobody answers.
        """
        sent = dict(headers or {})
        content: bytes | None = None
        if body is not None:
            content = body.model_dump_json().encode()
            sent["Content-Type"] = "application/json"
        if method == "POST":
            sent.setdefault("Idempotency-Key", new_id())
        wanted = {key: value for key, value in (params or {}).items() if value is not None}
        for attempt in range(self.retries + 1):
            last = attempt == self.retries
            try:
                answer = self._http.request(method, path, content=content, files=files, params=wanted, headers=sent)
            except httpx.TransportError as exc:
                if last or not (isinstance(exc, _NOT_SENT) or method in _REPEATABLE or "Idempotency-Key" in sent):
                    raise self.unreachable(exc) from exc
                time.sleep(pause_s(attempt))
                continue
            if answer.status_code in _LATER and not last and "Retry-After" in answer.headers:
                time.sleep(min(retry_after_s(answer), LONGEST_PAUSE_S))
                continue
            return self.accepted(answer)
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        content: Iterator[bytes] | None = None,
        read_timeout_s: float = 60.0,
    ) -> Iterator[httpx.Response]:
        """A request whose answer is read piece by piece. Not repeated: the caller knows where it stood."""
        timeout = httpx.Timeout(read_timeout_s, connect=5.0)
        try:
            with self._http.stream(
                method, path, params=dict(params or {}), headers=dict(headers or {}), content=content, timeout=timeout
            ) as answer:
                if answer.is_error:
                    answer.read()
                yield self.accepted(answer)
        except httpx.TransportError as exc:
            raise self.unreachable(exc) from exc

    def accepted(self, answer: httpx.Response) -> httpx.Response:
        """``answer`` itself if it is a success; else ProblemError."""
        if answer.is_success:
            return answer
        raise ProblemError(problem_of(answer))

    def unreachable(self, exc: Exception) -> NotReachable:
        """What to tell the user when ``exc`` cut the connection."""
        reason = str(exc) or type(exc).__name__
        hint = "Start the platform with `picofleet up`." if is_loopback(self.url) else "Check the URL and the network."
        return NotReachable(f"No answer from {self.url}: {reason}", hint=hint)


def pause_s(attempt: int) -> float:
    """Seconds to wait after the attempt with this number, counted from 0."""
    return float(min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S))


def retry_after_s(answer: httpx.Response) -> float:
    """What the service asks for; 1 s if it says nothing that can be read."""
    try:
        return max(0.0, float(answer.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0


def problem_of(answer: httpx.Response) -> ProblemDetails:
    """The problem in an answer; one in the same shape where a proxy or a stranger answered."""
    try:
        return ProblemDetails.model_validate_json(answer.content)
    except ValidationError:
        return ProblemDetails(
            type=f"/problems/http-{answer.status_code}",
            title=answer.reason_phrase or f"HTTP {answer.status_code}",
            status=answer.status_code,
            detail=f"{answer.request.method} {answer.request.url} was answered with HTTP {answer.status_code}.",
            hint="The answer did not come from Picofleet: check the URL, and whether a proxy stands between.",
        )


M = TypeVar("M", bound=BaseModel)


def parsed(model: type[M], answer: httpx.Response) -> M:
    """The body as ``model``; UnexpectedAnswer if it is something else."""
    try:
        return model.model_validate_json(answer.content)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise UnexpectedAnswer(
            f"{answer.request.url} sent no {model.__name__}: {where}: {first['msg']}",
            hint="Client and service are of different versions, or something else listens under this URL.",
        ) from exc
