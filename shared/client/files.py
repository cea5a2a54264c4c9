"""Files that go over the wire: read in pieces, written whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx

from shared.client.errors import DownloadError, Unusable
from shared.contracts.base import digest_of_file

CHUNK: Final = 1 << 20
Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all or None)."""


def file_chunks(path: Path, on_progress: Progress | None = None) -> Iterator[bytes]:
    """The content of a file in pieces of 1 MiB."""
    total = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece
            done += len(piece)
            if on_progress is not None:
                on_progress(done, total)


def file_digest(path: Path) -> str:
    """``sha256:...`` of a file; Unusable if it cannot be read."""
    try:
        return digest_of_file(path)
    except OSError as exc:
        raise Unusable(f"{path} cannot be read: {exc.strerror}", hint="Name an existing file that you may read.") from exc


def save_stream(answer: httpx.Response, to: Path, *, digest: str | None = None, on_progress: Progress | None = None) -> Path:
    """Write a streamed answer to ``to``: under a temporary name, checked, then renamed.

    DownloadError if fewer bytes came than announced, or others than ``digest`` says.
    """
    length = answer.headers.get("Content-Length")
    total = int(length) if length is not None and "Content-Encoding" not in answer.headers else None
    to.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    hasher, done = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as file:
            for piece in answer.iter_bytes(CHUNK):
                file.write(piece)
                hasher.update(piece)
                done += len(piece)
                if on_progress is not None:
                    on_progress(done, total)
            file.flush()
            os.fsync(file.fileno())
        _check(answer, done, total, f"sha256:{hasher.hexdigest()}", digest)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(to)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return to


def _check(answer: httpx.Response, done: int, total: int | None, found: str, digest: str | None) -> None:
    if total is not None and done != total:
        raise DownloadError(f"{answer.url} broke off after {done} of {total} bytes.", hint="Try again.")
    if digest is not None and found != digest:
        raise DownloadError(
            f"{answer.url} sent {found}, not {digest}.", hint="Try again; if it stays so, the store is damaged."
        )
