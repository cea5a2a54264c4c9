"""Unpacks a zip or tar that a stranger made: regular files below one folder, within limits, or nothing at all.

Sizes are counted as bytes come out, never believed from a header. Links, devices and pipes are refused rather than skipped: a
dataset that needs them would miss files without a word. xz is left out, because its header may ask for gigabytes of memory.
"""

import bz2
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
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, cast

from shared.picosam.data.errors import ArchiveRefused, Stopped
from shared.picosam.data.ordered import Report, ignore, never

_CHUNK: Final = 1024**2

_TAR_HEADERS: Final = 1024**2
"""Bytes between two files of a tar. tarfile reads extended headers into memory whatever size they claim."""

_ZIP_DIRECTORY_ROW: Final = 100
"""Bytes that a file takes in a zip's directory: 46 and its name. zipfile makes objects of all of it on opening."""

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
    UnicodeDecodeError,
)


def unpack(
    archive: Path, folder: Path, *, limits: Limits = STANDARD, progress: Report = ignore, stop: Callable[[], bool] = never
) -> None:
    """Unpacks ``archive`` into ``folder``, which must not be there yet and appears whole or not at all.

    Progress counts bytes of the archive. ``ArchiveRefused`` names the entry at fault; ``Stopped`` if ``stop()`` became true.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        with archive.open("rb") as raw:
            size = archive.stat().st_size
            target = _Target(partial, limits, size, stop)
            for entry in _entries(raw, limits):
                target.write(entry)
                progress(min(entry.position, size), size)
        partial.rename(folder)
    except _UNREADABLE as exc:
        raise ArchiveRefused(f"the archive cannot be read: {exc}") from exc
    except OSError as exc:
        if exc.errno is None:  # bz2's way to say that the data is damaged
            raise ArchiveRefused(f"the archive cannot be read: {exc}") from exc
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A regular file. ``position`` is how far into the archive reading has come, in bytes."""

    name: str
    content: IO[bytes]
    position: int


class _Target:
    """The folder that is filled, and what may still go into it."""

    def __init__(self, folder: Path, limits: Limits, packed: int, stop: Callable[[], bool]) -> None:
        self._folder, self._limits, self._stop = folder, limits, stop
        # Small archives get some slack: a kilobyte of annotations may well pack 300 to 1.
        self._max_bytes = min(limits.max_bytes, packed * limits.max_ratio + 16 * 1024**2)
        self._bytes = self._files = 0

    def write(self, entry: _Entry) -> None:
        """Writes a file at its checked place."""
        self._files += 1
        if self._files > self._limits.max_files:
            raise ArchiveRefused(f"the archive holds more than {self._limits.max_files:,} files")
        path = self._folder.joinpath(*checked_parts(entry.name, self._limits.max_depth))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("xb")
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as exc:
            raise ArchiveRefused(f"{entry.name!r} is in the archive twice, or is both file and folder") from exc
        with file:
            self._copy(entry, file)

    def _copy(self, entry: _Entry, file: IO[bytes]) -> None:
        while chunk := entry.content.read(_CHUNK):
            self._bytes += len(chunk)
            if self._bytes > self._max_bytes:
                raise ArchiveRefused(f"the archive unpacks to more than {self._max_bytes:,} bytes; reached at {entry.name!r}")
            file.write(chunk)
            if self._stop():
                raise Stopped


def checked_parts(name: str, max_depth: int) -> tuple[str, ...]:
    """A relative path's parts; ``ArchiveRefused`` for a name that leads elsewhere or that some file system cannot hold."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    odd = name.startswith("/") or ".." in parts or "\\" in name or (parts and parts[0].endswith(":"))
    if not parts or odd or not name.isprintable():
        raise ArchiveRefused(f"{name[:200]!r} is not a plain relative path")
    if len(parts) > max_depth or any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts):
        raise ArchiveRefused(f"{name[:200]!r} is too long or nested deeper than {max_depth} folders")
    return parts


def _entries(raw: IO[bytes], limits: Limits) -> Iterator[_Entry]:
    start = raw.read(4)
    raw.seek(0)
    if start[:2] == b"PK":
        return _zip_entries(raw, limits)
    if start[:2] == b"\x1f\x8b":
        return _tar_entries(gzip.GzipFile(fileobj=raw), raw)
    if start[:3] == b"BZh":
        return _tar_entries(bz2.BZ2File(raw), raw)
    return _tar_entries(raw, raw)


def _zip_entries(raw: IO[bytes], limits: Limits) -> Iterator[_Entry]:
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
            position += member.compress_size
            if not member.is_dir():
                with archive.open(member) as content:
                    yield _Entry(name=member.filename, content=content, position=position)


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


def _tar_entries(unpacked: IO[bytes] | gzip.GzipFile | bz2.BZ2File, raw: IO[bytes]) -> Iterator[_Entry]:
    meter = _Meter(unpacked)
    meter.allow(_TAR_HEADERS)
    with tarfile.open(fileobj=cast(IO[bytes], meter), mode="r|") as archive:
        while member := archive.next():
            archive.members = []  # type: ignore[attr-defined]  # else it keeps one for every file; typeshed hides it
            if member.isreg() and not member.issparse():
                meter.allow(member.size + _TAR_HEADERS)
                content = archive.extractfile(member)
                if content is not None:
                    yield _Entry(name=member.name, content=content, position=raw.tell())
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
