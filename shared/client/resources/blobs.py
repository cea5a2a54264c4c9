"""Blobs over REST: bytes named by their sha256."""

from pathlib import Path

from shared.client.errors import NotReachable, ProblemError
from shared.client.files import Progress, file_chunks, file_digest, save_stream
from shared.client.transport import Transport, parsed
from shared.contracts.worker import BlobOut

_ATTEMPTS = 3


class Blobs:
    """`/v1/blobs`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def exists(self, digest: str) -> bool:
        """True if the store has this blob."""
        try:
            self._transport.call("HEAD", f"/v1/blobs/{digest}")
        except ProblemError as exc:
            if exc.status == 404:
                return False
            raise
        return True

    def upload(self, path: Path, *, on_progress: Progress | None = None) -> BlobOut:
        """Send a file, unless the store has it already. Its digest is checked at both ends."""
        digest = file_digest(path)
        if self.exists(digest):
            return BlobOut(digest=digest, size_bytes=path.stat().st_size)
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._send(path, digest, on_progress)
            except NotReachable:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def download(self, digest: str, to: Path, *, on_progress: Progress | None = None) -> Path:
        """Save a blob as ``to``; DownloadError if its bytes do not match its name."""
        with self._transport.stream("GET", f"/v1/blobs/{digest}") as answer:
            return save_stream(answer, to, digest=digest, on_progress=on_progress)

    def _send(self, path: Path, digest: str, on_progress: Progress | None) -> BlobOut:
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        content = file_chunks(path, on_progress)
        with self._transport.stream("POST", "/v1/blobs", params={"digest": digest}, headers=headers, content=content) as answer:
            answer.read()
            return parsed(BlobOut, answer)
