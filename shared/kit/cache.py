"""A cache of blobs, prepared windows and teachers' answers on a worker's disk, shared by all its processes.

Blobs are named by their content, shard folders by their key. An entry appears by one rename, so a reader sees all of it or
nothing. A lock file per entry (flock: gone with its holder, however that dies) lets one process fetch while the others wait,
and keeps entries in use from being evicted.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

_ABANDONED_S: Final = 86_400
_META_LIMIT_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in the cache, as it was when it was looked at."""

    name: str
    """The key of a folder, or a blob's digest in hex."""
    path: Path
    size_bytes: int
    used_at: datetime
    """Aware, UTC: when it was last opened."""
    in_use: bool
    meta: dict[str, Any] = field(default_factory=dict)
    """A folder's ``meta.json``, as its maker wrote it; empty for blobs and for folders without one."""

    @property
    def is_folder(self) -> bool:
        """False for a blob."""
        return self.path.parent.parent.name == "folders"


@dataclass(frozen=True, slots=True)
class Cache:
    """Content-addressed files and keyed folders below ``root``; the least recently used go when ``limit_bytes`` is passed."""

    root: Path
    limit_bytes: int = 20 * 1024**3

    @contextmanager
    def blob(self, digest: str, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The blob's file while the block runs; ``fetch(path)`` writes it (and checks its digest) if it is not here."""
        with self._entry("blobs", digest.removeprefix("sha256:"), fetch) as path:
            yield path

    @contextmanager
    def folder(self, key: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """The folder of that key while the block runs; ``make(path)`` makes the folder ``path`` if it is not here."""
        with self._entry("folders", key, make) as path:
            yield path

    def has_folder(self, key: str) -> bool:
        """True if the folder is here now; another process may evict it the next moment."""
        return self._path("folders", key).exists()

    def drop_folder(self, key: str) -> None:
        """Remove a damaged entry. Nothing happens while somebody else uses it."""
        self._remove_unused(self._path("folders", key))

    def add_blob(self, digest: str, path: Path) -> None:
        """Copy a file that was just made into the cache, so that this machine never downloads it."""
        with self.blob(digest, lambda target: _link_or_copy(path, target)):
            pass

    def size_bytes(self) -> int:
        """Of all entries together."""
        return sum(size for _, _, size in self._entries())

    def entries(self) -> list[Entry]:
        """All entries, the least recently used first."""
        return [self._described(*found) for found in sorted(self._entries())]

    def remove(self, entry: Entry) -> bool:
        """Remove an entry; False if somebody uses it."""
        return self._remove_unused(entry.path)

    def sweep(self) -> None:
        """Remove what killed processes left unfinished: whatever nobody has touched for a day."""
        for left in (self.root / "unfinished").glob("*"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _ABANDONED_S:
                    _remove(left)

    def evict(self) -> None:
        """Remove the least recently used entries that nobody uses until the rest fits the limit."""
        entries = sorted(self._entries())
        total = sum(size for _, _, size in entries)
        for _, path, size in entries:
            if total <= self.limit_bytes:
                return
            if self._remove_unused(path):
                total -= size

    @contextmanager
    def _entry(self, kind: str, name: str, make: Callable[[Path], None]) -> Iterator[Path]:
        path = self._path(kind, name)
        with self._locked(path, fcntl.LOCK_SH) as lock:
            if not path.exists():
                self._make(path, make, lock)
            os.utime(path)
            yield path

    def _path(self, kind: str, name: str) -> Path:
        return self.root / kind / hashlib.sha256(name.encode()).hexdigest()[:2] / name

    def _make(self, path: Path, make: Callable[[Path], None], lock: int) -> None:
        # flock does not upgrade atomically: whoever waits here may find the entry made by the one before.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            if not path.exists():
                self._make_alone(path, make)
        finally:
            fcntl.flock(lock, fcntl.LOCK_SH)
        self.evict()

    def _make_alone(self, path: Path, make: Callable[[Path], None]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.root / "unfinished" / f"{path.name[:16]}-{uuid.uuid4().hex[:8]}"
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            make(unfinished)
            unfinished.rename(path)
        finally:
            _remove(unfinished)

    @contextmanager
    def _locked(self, path: Path, mode: int) -> Iterator[int]:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock = os.open(locks / path.name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, mode)
            yield lock
        finally:
            os.close(lock)

    def _described(self, used_at: float, path: Path, size_bytes: int) -> Entry:
        try:
            with self._locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                in_use = False
        except BlockingIOError:
            in_use = True
        meta = _meta(path) if path.is_dir() else {}
        return Entry(path.name, path, size_bytes, datetime.fromtimestamp(used_at, UTC), in_use, meta)

    def _remove_unused(self, path: Path) -> bool:
        try:
            with self._locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB):
                _remove(path)
        except BlockingIOError:
            return False
        return True

    def _entries(self) -> list[tuple[float, Path, int]]:
        found = []
        for kind in ("blobs", "folders"):
            for path in (self.root / kind).glob("*/*"):
                with suppress(FileNotFoundError):  # evicted by another process meanwhile
                    found.append((path.stat().st_mtime, path, _size(path)))
        return found


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size


def _meta(folder: Path) -> dict[str, Any]:
    try:
        with (folder / "meta.json").open("rb") as file:
            found = json.loads(file.read(_META_LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _remove(path: Path) -> None:
    if path.is_dir():
        # Renamed first, so that a kill in the middle never leaves half an entry under its name.
        gone = path.with_name(f".gone-{uuid.uuid4().hex[:8]}")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
