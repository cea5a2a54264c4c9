"""A package as one file: a tar whose bytes depend on the package alone."""

import gzip
import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from shared import archives
from shared.contracts.packages import MANIFEST, MAX_FILES, MAX_PACKAGE_BYTES, SIGNATURE
from shared.kit.packages.errors import PackageUnreadable
from shared.kit.packages.folder import MAX_DEPTH, listed

LIMITS: Final = archives.Limits(
    max_bytes=MAX_PACKAGE_BYTES + 1024**2, max_files=MAX_FILES + 2, max_ratio=100, max_depth=MAX_DEPTH
)
_GZIP: Final = b"\x1f\x8b"


def pack(folder: Path, target: Path, *, gzipped: bool = False) -> None:
    """Writes the package in ``folder`` into one file, which appears whole or not at all.

    manifest.json and signature come first, so that a reader can refuse early; times, owners and modes are the same for all.
    With ``gzipped`` the bytes also depend on the version of zlib.
    """
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as raw:
            if gzipped:
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                    _write(folder, cast(IO[bytes], packed))
            else:
                _write(folder, raw)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _write(folder: Path, raw: IO[bytes]) -> None:
    found = listed(folder)
    first = [place for place in (MANIFEST, SIGNATURE) if place in found]
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for place in _with_folders(first + [place for place in found if place not in first]):
            if place in found:
                content = found[place].read_bytes()
                tar.addfile(_header(place, tarfile.REGTYPE, len(content)), io.BytesIO(content))
            else:
                tar.addfile(_header(place, tarfile.DIRTYPE, 0))


def _with_folders(places: list[str]) -> list[str]:
    """Each folder before the first file in it."""
    made: dict[str, None] = {}
    for place in places:
        parents = [parent.as_posix() for parent in reversed(PurePosixPath(place).parents)]
        made.update(dict.fromkeys([*parents[1:], place]))
    return list(made)


def _header(place: str, kind: bytes, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(place)
    header.type, header.size, header.mtime = kind, size, 0
    header.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    header.uid = header.gid = 0
    header.uname = header.gname = ""
    return header


@contextmanager
def opened(package: Path) -> Iterator[Path]:
    """The folder of a package: itself, or a tar (also packed by gzip) unpacked into a temporary one. PackageUnreadable."""
    if package.is_dir():
        yield package
        return
    with tempfile.TemporaryDirectory(prefix="picofleet-package-") as temporary:
        unpack(package, folder := Path(temporary, "package"))
        yield folder


def unpack(package: Path, folder: Path) -> None:
    """Unpacks a package's tar into ``folder``, which must not be there yet. PackageUnreadable; nothing is half-written."""
    try:
        with package.open("rb") as raw:
            start = raw.read(512)
    except OSError as exc:
        raise PackageUnreadable(f"{package.name} cannot be read: {exc.strerror}") from exc
    if not start.startswith(_GZIP) and start[257:262] != b"ustar":
        raise PackageUnreadable(f"{package.name} is no tar")
    try:
        archives.unpack(package, folder, limits=LIMITS)
    except archives.ArchiveRefused as exc:
        raise PackageUnreadable(f"{package.name}: {exc}") from exc
