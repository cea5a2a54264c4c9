"""Content-addressed bytes in a local folder or an object store. A blob that exists is whole: its name is its digest.

Layout below the root: ``sha256/<first two digits>/<64 digits>``; uploads under way are in ``incoming/``.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, NamedTuple, Self

from upath import UPath

from shared.contracts.base import Digest, is_digest, new_id
from shared.kit.problems import InvalidRequest, NotFound, PayloadTooLarge

CHUNK: Final = 1 << 20
"""Bytes handed over at a time."""


class BlobNotFound(NotFound):
    """No blob has this digest."""

    title = "No such blob"
    hint = "upload it with POST /v1/blobs"


class MalformedDigest(InvalidRequest):
    """The text does not name a blob."""

    title = "Not a digest"
    hint = "a digest is sha256: and 64 lower-case hexadecimal digits"


class DigestMismatch(InvalidRequest):
    """The bytes that arrived are not those that were announced."""

    title = "Digest differs from the content"
    hint = "the content was changed or cut on its way: send it again"


class BlobTooLarge(PayloadTooLarge):
    """The blob is larger than this store takes."""

    title = "Blob too large"


class Stored(NamedTuple):
    """A blob that is in the store."""

    digest: Digest
    size_bytes: int


class BlobStore:
    """Blobs below ``root_url``: a folder, ``file://...`` or what fsspec knows, as ``s3://bucket/prefix``."""

    def __init__(self, root_url: str) -> None:
        self._root = UPath(root_url)
        self._local = self._root.protocol in {"", "file", "local"}
        if self._local:
            Path(self._root.path).mkdir(parents=True, exist_ok=True)

    def begin(self, *, max_bytes: int) -> "Incoming":
        """Start an upload; leaving its ``with`` block without a commit throws it away."""
        partial = self._root / "incoming" / new_id()
        self._make_parent(partial)
        return Incoming(self, partial, max_bytes)

    def put_stream(self, chunks: Iterable[bytes], *, expected: Digest | None = None, max_bytes: int) -> Stored:
        """Store the bytes of ``chunks``; a repeated upload changes nothing.

        Raises BlobTooLarge beyond ``max_bytes`` and DigestMismatch if they are not ``expected``; nothing is kept then.
        """
        with self.begin(max_bytes=max_bytes) as incoming:
            for chunk in chunks:
                incoming.write(chunk)
            return incoming.commit(expected)

    def put_file(self, path: Path, *, expected: Digest | None = None) -> Stored:
        """Store a copy of a local file."""
        with path.open("rb") as file:
            chunks = iter(lambda: file.read(CHUNK), b"")
            return self.put_stream(chunks, expected=expected, max_bytes=path.stat().st_size)

    def put_bytes(self, content: bytes) -> Stored:
        """Store ``content``."""
        return self.put_stream([content], max_bytes=len(content))

    def exists(self, digest: Digest) -> bool:
        """True if the blob is here, whole."""
        return bool(self._place(digest).exists())

    def size(self, digest: Digest) -> int:
        """In bytes. Raises BlobNotFound."""
        try:
            return int(self._place(digest).stat().st_size)
        except FileNotFoundError as exc:
            raise _missing(digest) from exc

    def open(self, digest: Digest) -> BinaryIO:
        """The blob as a seekable file. Raises BlobNotFound."""
        try:
            return self._place(digest).open("rb")
        except FileNotFoundError as exc:
            raise _missing(digest) from exc

    def open_range(self, digest: Digest, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes ``start`` up to but without ``end`` in chunks. BlobNotFound is raised here, not by the iterator."""
        size = self.size(digest)
        return _read(self.open(digest), start, size if end is None else min(end, size))

    def read(self, digest: Digest, *, max_bytes: int) -> bytes:
        """The whole blob, for small ones. Raises BlobNotFound, BlobTooLarge."""
        if (size := self.size(digest)) > max_bytes:
            raise BlobTooLarge(f"The blob has {size} bytes; at most {max_bytes} are read at once.")
        return b"".join(self.open_range(digest))

    def delete(self, digest: Digest) -> None:
        """Remove the blob; nothing happens if it is not here."""
        with contextlib.suppress(FileNotFoundError):
            self._place(digest).unlink()

    def delete_all(self, digests: Iterable[Digest]) -> None:
        """Remove blobs that nothing refers to any more."""
        for digest in digests:
            self.delete(digest)

    def path(self, digest: Digest) -> Path | None:
        """Where the blob lies, if that is a local file."""
        return Path(self._place(digest).path) if self._local else None

    def forget_abandoned(self, *, older_than_s: float = 24 * 3600) -> int:
        """Delete uploads that a killed process left behind in a local store; returns how many.

        An object store forgets parts of an upload by its own life-cycle rules.
        """
        folder = Path((self._root / "incoming").path)
        if not self._local or not folder.is_dir():
            return 0
        old = [path for path in folder.iterdir() if path.stat().st_mtime < time.time() - older_than_s]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _place(self, digest: Digest) -> UPath:
        if not is_digest(digest):
            raise MalformedDigest(f"{digest[:80]!r} is not a digest.")
        hexed = digest.removeprefix("sha256:")
        return self._root / "sha256" / hexed[:2] / hexed

    def _make_parent(self, path: UPath) -> None:
        if self._local:
            Path(path.path).parent.mkdir(parents=True, exist_ok=True)

    def _adopt(self, partial: UPath, digest: Digest) -> None:
        place = self._place(digest)
        if self.exists(digest):
            partial.unlink()
        elif self._local:
            self._make_parent(place)
            Path(partial.path).replace(place.path)
            _sync_folder(Path(place.path).parent)
        else:
            partial.fs.mv(partial.path, place.path)


class Incoming:
    """An upload under way: written under a temporary name, hashed on the way, renamed when whole."""

    def __init__(self, store: BlobStore, partial: UPath, max_bytes: int) -> None:
        self._store, self._partial, self._max_bytes = store, partial, max_bytes
        self._file = partial.open("wb")
        self._hash = hashlib.sha256()
        self._size = 0
        self._committed = False

    def write(self, chunk: bytes) -> None:
        """Append. Raises BlobTooLarge."""
        self._size += len(chunk)
        if self._size > self._max_bytes:
            raise BlobTooLarge(f"The blob has more than {self._max_bytes} bytes.", max_bytes=self._max_bytes)
        self._hash.update(chunk)
        self._file.write(chunk)

    def commit(self, expected: Digest | None = None) -> Stored:
        """Make the blob visible under its digest. Raises DigestMismatch."""
        digest = f"sha256:{self._hash.hexdigest()}"
        if expected is not None and digest != expected:
            raise DigestMismatch(f"Announced as {expected}, but the content is {digest}.", expected=expected, actual=digest)
        self._file.flush()
        with contextlib.suppress(OSError, AttributeError, ValueError):  # an object store's file has no descriptor
            os.fsync(self._file.fileno())
        self._file.close()
        self._store._adopt(self._partial, digest)
        self._committed = True
        return Stored(digest, self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if self._committed:
            return
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._partial.unlink()


def _missing(digest: Digest) -> BlobNotFound:
    return BlobNotFound(f"There is no blob {digest}.", digest=digest)


def _read(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        left = end - start
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _sync_folder(folder: Path) -> None:
    # The rename is durable only once the folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
