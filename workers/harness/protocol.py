"""The worker protocol over HTTP, as shared.contracts.worker describes it."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import httpx
from pydantic import BaseModel

from shared.contracts.worker import (
    BlobOut,
    CheckpointIn,
    Claim,
    ClaimIn,
    FinishIn,
    HeartbeatIn,
    HeartbeatOut,
    ReportIn,
    ShardSet,
    WorkerHello,
)

CHUNK_BYTES: Final = 1 << 20
_AWAY: Final = {408, 425, 429, 500, 502, 503, 504}
Answer = TypeVar("Answer")


class ProtocolError(Exception):
    """The jobs service refused a message for a reason that repeating it will not change."""

    def __init__(self, message: str, *, status: int = 0, problem: str = "") -> None:
        super().__init__(message)
        self.status, self.problem = status, problem


class StaleToken(ProtocolError):
    """The job belongs to another claim now: stop at once and write nothing more."""


class NotClaimable(ProtocolError):
    """The job is taken, finished or unknown."""


class ServiceAway(Exception):
    """The jobs service cannot be reached or says that it cannot answer now; worth repeating."""


class DigestMismatch(Exception):
    """Downloaded bytes are not the ones that were asked for."""


class JobsClient:
    """A worker's connection to the jobs service. Safe to use from several threads.

    Every method raises ``ServiceAway`` when the service does not answer, ``StaleToken``, ``NotClaimable`` or
    ``ProtocolError`` when it refuses. ``transfer_patience_s`` is how long blob and shard transfers wait for an absent service.
    """

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 10, transfer_patience_s: float = 3600) -> None:
        self.url = url.rstrip("/")
        self.patience_s = transfer_patience_s
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(timeout_s, connect=min(3, timeout_s)),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def hello(self, hello: WorkerHello) -> None:
        """Say that this worker is there."""
        self._call("POST", "/v1/worker/hello", hello)

    def claim(self, job_id: str, worker: str) -> Claim:
        """Take the job. Exactly one caller gets it, all others ``NotClaimable``."""
        return Claim.model_validate(self._call("POST", f"/v1/worker/jobs/{job_id}/claim", ClaimIn(worker=worker)).json())

    def heartbeat(self, job_id: str, token: int) -> HeartbeatOut:
        """Extend the lease."""
        answer = self._call("POST", f"/v1/worker/jobs/{job_id}/heartbeat", HeartbeatIn(token=token))
        return HeartbeatOut.model_validate(answer.json())

    def report(self, job_id: str, report: ReportIn) -> HeartbeatOut:
        """Send progress and log lines; extends the lease too. Repeating a ``report_no`` is harmless."""
        return HeartbeatOut.model_validate(self._call("POST", f"/v1/worker/jobs/{job_id}/progress", report).json())

    def finish(self, job_id: str, finish: FinishIn) -> None:
        """Say how the job ended."""
        self._call("POST", f"/v1/worker/jobs/{job_id}/finish", finish)

    def put_checkpoint(self, job_id: str, checkpoint: CheckpointIn) -> None:
        """Name the blobs from which the job can be taken up again."""
        self._call("PUT", f"/v1/worker/jobs/{job_id}/checkpoint", checkpoint)

    def get_shards(self, key: str) -> ShardSet | None:
        """The prepared shards of that key, or None if nobody has made them yet. Waits while the service is away."""
        try:
            answer = self._waiting(lambda: self._call("GET", f"/v1/worker/shards/{key}"))
            return ShardSet.model_validate(answer.json())
        except ProtocolError as exc:
            if exc.status == 404:
                return None
            raise

    def put_shards(self, shards: ShardSet) -> None:
        """Offer prepared shards to all workers. The first writer wins. Waits while the service is away."""
        self._waiting(lambda: self._call("PUT", f"/v1/worker/shards/{shards.key}", shards))

    def has_blob(self, digest: str) -> bool:
        """True if the service holds the blob."""
        try:
            self._call("HEAD", f"/v1/blobs/{digest}")
        except ProtocolError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    def upload_blob(self, path: Path, *, stop: Callable[[], bool] = lambda: False) -> BlobOut:
        """Upload a file unless the service has it already. Waits while the service is away."""
        digest, size = digest_file(path)
        return patiently(lambda: self._upload(path, digest, size), patience_s=self.patience_s, stop=stop)

    def download_blob(self, digest: str, path: Path, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Download a blob into ``path``, resuming after an interruption; ``DigestMismatch`` if the bytes are not its."""
        patiently(lambda: self._download(digest, path), patience_s=self.patience_s, stop=stop)
        found, _ = digest_file(path)
        if found != digest:
            path.unlink()
            raise DigestMismatch(f"blob {digest} arrived as {found}")

    def _waiting(self, call: Callable[[], Answer]) -> Answer:
        return patiently(call, patience_s=self.patience_s, stop=lambda: False)

    def _upload(self, path: Path, digest: str, size: int) -> BlobOut:
        if self.has_blob(digest):
            return BlobOut(digest=digest, size_bytes=size)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        answer = self._send("POST", "/v1/blobs", params={"digest": digest}, content=_chunks(path), headers=headers)
        return BlobOut.model_validate(answer.json())

    def _download(self, digest: str, path: Path) -> None:
        have = path.stat().st_size if path.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        try:
            with self._http.stream("GET", f"/v1/blobs/{digest}", headers=headers) as answer:
                if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return  # all bytes were there already; the caller checks them
                _refuse(answer)
                with path.open("ab" if answer.status_code == httpx.codes.PARTIAL_CONTENT else "wb") as file:
                    for chunk in answer.iter_bytes(CHUNK_BYTES):
                        file.write(chunk)
        except httpx.TransportError as exc:
            raise ServiceAway(f"{self.url}: {exc or type(exc).__name__}") from exc

    def _call(self, method: str, path: str, message: BaseModel | None = None) -> httpx.Response:
        content = None if message is None else message.model_dump_json()
        return self._send(method, path, content=content, headers={"Content-Type": "application/json"} if content else {})

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **kwargs)
        except httpx.TransportError as exc:
            raise ServiceAway(f"{self.url}: {exc or type(exc).__name__}") from exc
        _refuse(answer)
        return answer


def patiently(call: Callable[[], Answer], *, patience_s: float, stop: Callable[[], bool], first_wait_s: float = 0.2) -> Answer:
    """Repeat ``call`` with growing waits (at most 5 s) while it raises ``ServiceAway``, until ``stop`` or out of patience."""
    deadline, wait_s = time.monotonic() + patience_s, first_wait_s
    while True:
        try:
            return call()
        except ServiceAway:
            if stop() or time.monotonic() + wait_s > deadline:
                raise
        _sleep(wait_s, stop)
        wait_s = min(2 * wait_s, 5)


def digest_file(path: Path) -> tuple[str, int]:
    """Digest and size in bytes of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return f"sha256:{digest}", os.fstat(file.fileno()).st_size


def _sleep(seconds: float, stop: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while not stop() and (left := until - time.monotonic()) > 0:
        time.sleep(min(0.1, left))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _refuse(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    problem, detail = _problem(answer)
    if answer.status_code in _AWAY:
        raise ServiceAway(f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {detail}")
    kind = {"stale-token": StaleToken, "not-claimable": NotClaimable}.get(problem, ProtocolError)
    message = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {detail}"
    raise kind(message, status=answer.status_code, problem=problem)


def _problem(answer: httpx.Response) -> tuple[str, str]:
    """Type (its last path segment) and detail of a problem+json body; empty type for any other body."""
    try:
        body = answer.json()
        return str(body["type"]).rsplit("/", 1)[-1], str(body["detail"])
    except (ValueError, KeyError, TypeError):
        return "", answer.text[:500]
