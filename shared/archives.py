"""Reads a zip or tar that a stranger made: regular files below one folder, within limits, or nothing at all.

Sizes are counted as bytes come out, never believed from a header. Links, devices and pipes are refused rather than skipped:
what needs them would miss files without a word. xz is left out, because its header may ask for gigabytes of memory.

Imports nothing of ours: the ML core unpacks datasets with it, the kit packages.
"""

import bz2
import errno
import gzip
import io
import shutil
import stat
import struct
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

_CHUNK: Final = 1024**2

_TAR_HEADERS: Final = 1024**2
"""Bytes between two files of a tar. tarfile reads extended headers into memory whatever size they claim."""

_ZIP_DIRECTORY_ROW: Final = 100
"""Bytes that a file takes in a zip's directory: 46 and its name. zipfile makes objects of all of it on opening."""

_ZIP_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
"""LZMA is left out as xz is."""

_ZIP_END: Final = struct.Struct("<4s4H2LH")
_ZIP64_LOCATOR: Final = struct.Struct("<4sLQL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an archive may hold; the defaults take COCO 2017 whole (123,287 images, 20 GB)."""

    max_bytes: int = 64 * 1024**3
    max_files: int = 300_000
    max_ratio: int = 200
    """Unpacked to packed over the whole archive. Annotations pack 4 to 1, blank masks 30 to 1, a bomb of zeros 1032 to 1."""
    max_depth: int = 16


STANDARD: Final = Limits()

_UNREADABLE: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    struct.error,
    NotImplementedError,  # a zip compression that Python does not have
    ValueError,  # a place or a name that no file can have
    OverflowError,
)


class ArchiveRefused(Exception):
    """The archive is broken, would leave its folder, or breaks a limit. Names the entry at fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A regular file. ``pieces`` can be read until the next entry is asked for; ``position``: bytes of the archive so far."""

    parts: tuple[str, ...]
    pieces: Iterator[bytes]
    position: int

    @property
    def name(self) -> str:
        """Its checked relative path, with slashes."""
        return "/".join(self.parts)


def entries(archive: Path, *, limits: Limits = STANDARD) -> Iterator[Entry]:
    """The files of ``archive`` in its order. A name may come twice. ArchiveRefused, also while pieces are read."""
    with _as_refusal(), archive.open("rb") as raw:
        left = _Allowance(limits, archive.stat().st_size)
        for member in _members(raw, limits):
            pieces = left.pieces(member)
            yield Entry(parts=left.admit(member.name), pieces=pieces, position=member.position)
            for _unwanted in pieces:  # counted too, and a cut archive is noticed
                pass


def _ignore(_done: int, _total: int) -> None:
    """A report to nobody."""


def _go_on() -> None:
    """A watch that has no objection."""


def unpack(
    archive: Path,
    folder: Path,
    *,
    limits: Limits = STANDARD,
    progress: Callable[[int, int], None] = _ignore,
    watch: Callable[[], None] = _go_on,
) -> None:
    """Unpacks ``archive`` into ``folder``, which must not be there yet and appears whole or not at all.

    Progress is called after each file with the bytes of the archive read so far and in all, ``watch`` after each megabyte; what
    they raise ends the work. ArchiveRefused names the entry at fault.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        size = archive.stat().st_size
        for entry in entries(archive, limits=limits):
            _write(partial, entry, watch)
            progress(min(entry.position, size), size)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write(folder: Path, entry: Entry, watch: Callable[[], None]) -> None:
    path = folder.joinpath(*entry.parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
        raise ArchiveRefused(f"{entry.name!r} is in the archive twice, or is both file and folder") from exc
    with file:
        for piece in entry.pieces:
            file.write(piece)
            watch()


@contextmanager
def _as_refusal() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as exc:
        raise ArchiveRefused(f"the archive cannot be read: {exc}") from exc
    except OSError as exc:
        # None is bz2's way to say that the data is damaged; EINVAL comes of a place before the file's beginning.
        if exc.errno in (None, errno.EINVAL):
            raise ArchiveRefused(f"the archive cannot be read: {exc}") from exc
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    """A regular file as the archive has it, its name unchecked."""

    name: str
    content: IO[bytes]
    position: int


class _Allowance:
    """What may still come out of an archive of ``packed`` bytes."""

    def __init__(self, limits: Limits, packed: int) -> None:
        self._limits = limits
        # Small archives get some slack: a kilobyte of annotations may well pack 300 to 1.
        self._max_bytes = min(limits.max_bytes, packed * limits.max_ratio + 16 * 1024**2)
        self._bytes = self._files = 0

    def admit(self, name: str) -> tuple[str, ...]:
        """Counts a file; the parts of its checked name."""
        self._files += 1
        if self._files > self._limits.max_files:
            raise ArchiveRefused(f"the archive holds more than {self._limits.max_files:,} files")
        return checked_parts(name, self._limits.max_depth)

    def pieces(self, member: _Member) -> Iterator[bytes]:
        """Its content, counted as it comes."""
        with _as_refusal():
            while piece := member.content.read(_CHUNK):
                self._bytes += len(piece)
                if self._bytes > self._max_bytes:
                    raise ArchiveRefused(
                        f"the archive unpacks to more than {self._max_bytes:,} bytes; reached at {member.name!r}"
                    )
                yield piece


def checked_parts(name: str, max_depth: int) -> tuple[str, ...]:
    """A relative path's parts; ``ArchiveRefused`` for a name that leads elsewhere or that some file system cannot hold."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    odd = name.startswith("/") or ".." in parts or "\\" in name or (parts and parts[0].endswith(":"))
    if not parts or odd or not name.isprintable():
        raise ArchiveRefused(f"{name[:200]!r} is not a plain relative path")
    if len(parts) > max_depth or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        raise ArchiveRefused(f"{name[:200]!r} is too long or nested deeper than {max_depth} folders")
    return parts


def _members(raw: IO[bytes], limits: Limits) -> Iterator[_Member]:
    start = raw.read(4)
    raw.seek(0)
    if start[:2] == b"PK":
        return _zip_members(raw, limits)
    if start[:2] == b"\x1f\x8b":
        return _tar_members(gzip.GzipFile(fileobj=raw), raw)
    if start[:3] == b"BZh":
        return _tar_members(bz2.BZ2File(raw), raw)
    return _tar_members(raw, raw)


def _zip_members(raw: IO[bytes], limits: Limits) -> Iterator[_Member]:
    if _zip_directory_bytes(raw) > limits.max_files * _ZIP_DIRECTORY_ROW:
        raise ArchiveRefused(f"the archive holds more than {limits.max_files:,} files")
    position = 0
    with zipfile.ZipFile(raw) as archive:
        for member in archive.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise ArchiveRefused(f"{member.filename!r} is a link or a device; only regular files are taken")
            if member.flag_bits & 1:
                raise ArchiveRefused(f"{member.filename!r} is encrypted")
            if member.compress_type not in _ZIP_METHODS:
                raise ArchiveRefused(f"{member.filename!r} is packed by method {member.compress_type}")
            position += member.compress_size
            if not member.filename.endswith("/"):  # is_dir() fails for a name of no letters
                with archive.open(member) as content:
                    yield _Member(name=member.filename, content=content, position=position)


def _zip_directory_bytes(raw: IO[bytes]) -> int:
    """Size of the table of contents, as zipfile will read it."""
    end = raw.seek(0, 2)
    start = max(0, end - 65_535 - _ZIP_END.size)
    raw.seek(start)
    tail = raw.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0:
        raise zipfile.BadZipFile("no table of contents; the file is cut off")
    size = int(_ZIP_END.unpack_from(tail, place)[5])
    locator = start + place - _ZIP64_LOCATOR.size
    if size == 0xFFFFFFFF and locator >= 0:
        raw.seek(locator)
        raw.seek(_ZIP64_LOCATOR.unpack(raw.read(_ZIP64_LOCATOR.size))[2])
        size = struct.unpack_from("<Q", raw.read(56), 40)[0]
    raw.seek(0)
    return size


def _tar_members(unpacked: IO[bytes] | gzip.GzipFile | bz2.BZ2File, raw: IO[bytes]) -> Iterator[_Member]:
    meter = _Meter(unpacked)
    meter.allow(_TAR_HEADERS)
    with tarfile.open(fileobj=cast(IO[bytes], meter), mode="r|") as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # else it keeps one for every file; typeshed hides it
            if member.isreg() and not member.issparse():
                meter.allow(member.size + _TAR_HEADERS)
                content = archive.extractfile(member)
                if content is not None:
                    yield _Member(name=member.name, content=content, position=raw.tell())
                    if content.tell() != member.size:  # tarfile takes the end of the file for the file's end
                        raise ArchiveRefused(f"the archive is cut off within {member.name!r}")
            elif not member.isdir():
                raise ArchiveRefused(f"{member.name!r} is a link, a device or sparse; only regular files are taken")
            meter.allow(_TAR_HEADERS)
    if meter.ended_early:
        raise ArchiveRefused("the archive is cut off: a tar ends with blocks of zeros")


class _Meter(io.RawIOBase):
    """Lets through as many bytes as were allowed last, and remembers how the source ended."""

    def __init__(self, source: IO[bytes] | gzip.GzipFile | bz2.BZ2File) -> None:
        super().__init__()
        self._source, self._left = source, 0
        self._tail, self._at_end = b"", False

    def allow(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        self._left -= size
        if self._left < 0:
            raise ArchiveRefused("the archive has a header of more than a megabyte")
        chunk = self._source.read(size)
        self._tail = (self._tail + chunk)[-tarfile.BLOCKSIZE :]
        self._at_end = len(chunk) < size
        return chunk

    @property
    def ended_early(self) -> bool:
        """True if the source was read to its end and does not end with a block of zeros."""
        return self._at_end and any(self._tail)
