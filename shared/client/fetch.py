"""Large files over HTTP: resumed where they broke off, checked before they are given their name."""

import hashlib
import json
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Final

import httpx

from shared.client.errors import DownloadError
from shared.client.files import Progress
from shared.client.transport import is_loopback, pause_s, retry_after_s

FRUITLESS_ATTEMPTS: Final = 6
"""Given up after so many attempts in a row that brought no byte."""
SPARE_BYTES: Final = 64 << 20
"""Left free on the disk beyond the file itself."""
_RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on a server. ``sha256`` in hex and ``size_bytes`` are None where they are not known beforehand."""

    path: str
    sha256: str | None = None
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.path.rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True)
class _Part:
    """A download in progress: the bytes so far, and beside them which state of the remote file they belong to."""

    data: Path
    note: Path

    @classmethod
    def of(cls, to: Path) -> "_Part":
        return cls(to.with_name(f"{to.name}.part"), to.with_name(f"{to.name}.part.json"))

    def resume_at(self, url: str) -> tuple[int, str | None]:
        """(offset, validator) to go on with; (0, None) if the bytes cannot be trusted to belong to today's file."""
        try:
            noted: dict[str, Any] = json.loads(self.note.read_text())
            size = self.data.stat().st_size
        except (OSError, ValueError):
            return 0, None
        validator = noted.get("validator")
        return (size, validator) if size and validator and noted.get("url") == url else (0, None)

    def begin(self, url: str, answer: httpx.Response) -> None:
        """Forget what was there: the file comes from its start."""
        self.data.write_bytes(b"")
        etag = answer.headers.get("ETag", "")
        # A weak ETag promises equivalence, not equal bytes: no ground for putting two halves together.
        validator = etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")
        self.note.write_text(json.dumps({"url": url, "validator": validator}))

    def drop(self) -> None:
        """Remove all traces."""
        self.data.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def fetch(
    base_url: str,
    file: RemoteFile,
    folder: Path,
    *,
    on_progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """The local path of ``file``, fetched unless it is there already with the right digest.

    A download that broke off goes on where it stopped, if the file is still the same (If-Range). The file appears under its
    name only with the right size and digest and, if it is a zip, with intact members; its digest is then written into
    ``NAME.lock.json`` and holds for later downloads too. DownloadError with a hint otherwise.
    """
    folder.mkdir(parents=True, exist_ok=True)
    to = folder / file.name
    with (folder / f".{file.name}.lock").open("w") as lock:
        try:
            flock(lock, LOCK_EX | LOCK_NB)
        except BlockingIOError as exc:
            raise DownloadError(f"{to} is being downloaded by another process.", hint="Wait for it.") from exc
        expected = file.sha256 or _locked_digest(to)
        if to.exists() and expected is not None and _sha256(to) == expected:
            return to
        part, url = _Part.of(to), f"{base_url.rstrip('/')}/{file.path}"
        with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(60, connect=15), trust_env=not is_loopback(url)) as http:
            _receive(http, url, part, file, on_progress, sleep)
        digest = _verified(part, url, file, expected)
        part.data.replace(to)
        part.drop()
        _write_lock(to, url, digest)
    return to


def _receive(
    http: httpx.Client, url: str, part: _Part, file: RemoteFile, on_progress: Progress | None, sleep: Callable[[float], None]
) -> None:
    """Repeat requests until the file is complete; DownloadError if that leads nowhere."""
    fruitless = 0
    while True:
        before = part.data.stat().st_size if part.data.exists() else 0
        try:
            wait = _request(http, url, part, file, on_progress)
            if wait is None:
                return
        except httpx.TransportError as exc:
            wait, reason = pause_s(fruitless), str(exc) or type(exc).__name__
        else:
            reason = "the server is busy"
        after = part.data.stat().st_size if part.data.exists() else 0
        fruitless = 0 if after > before else fruitless + 1
        if fruitless >= FRUITLESS_ATTEMPTS:
            raise DownloadError(
                f"{url} cannot be fetched: {reason}", hint="Run the command again: it goes on where it stopped."
            )
        sleep(wait)


def _request(http: httpx.Client, url: str, part: _Part, file: RemoteFile, on_progress: Progress | None) -> float | None:
    """One request. None when the file is complete, else the seconds to wait before the next one."""
    offset, validator = part.resume_at(url)
    headers = {"Accept-Encoding": "identity"}  # ranges of a compressed answer are ranges of other bytes
    if validator is not None:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code == 416:
            if answer.headers.get("Content-Range", "") == f"bytes */{offset}":
                return None  # it broke off just after the last byte
            part.drop()
            return 0.0
        if answer.status_code in _RETRIED:
            return max(retry_after_s(answer), 0.5) if "Retry-After" in answer.headers else 1.0
        _refuse_strangers(answer, url)
        if answer.status_code == 206 and validator is not None:
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                part.drop()  # another range than asked for: nothing can be put together
                return 0.0
        elif answer.status_code == 200:
            offset = 0
            part.begin(url, answer)
        else:
            raise DownloadError(f"{url} was answered with {answer.status_code}, which was not asked for.")
        _append(answer, part, offset, file, on_progress)
    return None


def _refuse_strangers(answer: httpx.Response, url: str) -> None:
    if answer.status_code in {404, 410}:
        raise DownloadError(f"{url} does not exist.", hint="Check --base-url.")
    if not answer.is_success:
        raise DownloadError(f"{url} was answered with {answer.status_code} {answer.reason_phrase}.", hint="Check --base-url.")
    if answer.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError(
            f"{url} sent a web page instead of a file.",
            hint="A proxy or a login page answers in its place: open it in a browser.",
        )


def _append(answer: httpx.Response, part: _Part, offset: int, file: RemoteFile, on_progress: Progress | None) -> None:
    """Write the body behind the bytes that are there. Raises httpx.TransportError when it breaks off."""
    length = answer.headers.get("Content-Length")
    total = offset + int(length) if length is not None and length.isdecimal() else file.size_bytes
    if file.size_bytes is not None and total != file.size_bytes:
        part.drop()
        raise DownloadError(
            f"{answer.url} has {total} bytes, not {file.size_bytes}.",
            hint="It is another file than expected: check --base-url.",
        )
    _require_space(part.data.parent, (total or 0) - offset)
    done = offset
    with part.data.open("ab") as target:
        for piece in answer.iter_raw():  # as it comes: pieces of a fixed size would lose the last one when it breaks off
            target.write(piece)
            done += len(piece)
            if on_progress is not None:
                on_progress(done, total)
        target.flush()
        os.fsync(target.fileno())


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise DownloadError(
            f"{folder} has {free / 1e6:,.0f} MB free; {(needed + SPARE_BYTES) / 1e6:,.0f} MB are needed.",
            hint="Free some space, or name another disk with --to. What was fetched so far is kept.",
        )


def _verified(part: _Part, url: str, file: RemoteFile, expected: str | None) -> str:
    """The digest of a complete download; the download is thrown away if it is not what it should be."""
    digest = _sha256(part.data)
    problem = ""
    if expected is not None and digest != expected:
        problem = f"its sha256 is {digest}, not {expected}"
    elif file.name.endswith(".zip"):
        problem = _zip_problem(part.data)
    if problem:
        part.drop()
        raise DownloadError(
            f"{url} is not what it should be: {problem}.",
            hint=f"It was thrown away. If the file was changed on purpose, remove {file.name}.lock.json and fetch it again.",
        )
    return digest


def _zip_problem(path: Path) -> str:
    """What is wrong with a zip; empty if every member has its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as exc:
        return f"no intact zip ({exc})"
    return f"member {broken} is damaged" if broken else ""


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock_file(to: Path) -> Path:
    return to.with_name(f"{to.name}.lock.json")


def _locked_digest(to: Path) -> str | None:
    try:
        found = json.loads(_lock_file(to).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _write_lock(to: Path, url: str, digest: str) -> None:
    temporary = _lock_file(to).with_suffix(".tmp")
    temporary.write_text(json.dumps({"url": url, "sha256": digest, "size_bytes": to.stat().st_size}, indent=2) + "\n")
    temporary.replace(_lock_file(to))
