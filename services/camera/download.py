"""Fetching a package's file: goes on where it was cut off, and keeps nothing that is not what was announced."""

import hashlib
from pathlib import Path
from typing import Final

import httpx

from services.camera.disk import Disk, free_bytes
from services.camera.errors import InstallFailed, NoSuchAction, Unreachable
from services.camera.messages import Artifact
from services.camera.wire import Wire
from shared.contracts.packages import MAX_PACKAGE_BYTES

MOST_BYTES: Final = MAX_PACKAGE_BYTES + (1 << 20)
_CHUNK: Final = 1 << 16


def download(wire: Wire, disk: Disk, artifact: Artifact, folder: Path) -> Path:
    """The whole file, on the disk and with the digest that was announced; a second call does nothing.

    Unreachable: a further call goes on from there. InstallFailed: it cannot be had as it was announced, or has no place here.
    """
    name = (artifact.hashes.sha256 or f"{artifact.size}").lower()
    whole, part = folder / f"{name}.tar", folder / f"{name}.part"
    if whole.exists():
        return whole
    disk.make_folder(folder)
    _check_size(artifact, part, folder)
    for attempt in (1, 2):
        _fetch(wire, disk, artifact, part)
        found = _digest(part)
        if artifact.hashes.sha256 is None or found == artifact.hashes.sha256.lower():
            disk.rename(part, whole)
            return whole
        # What lay here from before may be damaged: a power cut leaves bytes that were never written. Once more from the start.
        disk.remove(part)
        if attempt == 2:
            raise InstallFailed(f"what came is not {artifact.filename}: its sha256 is {found}")
    raise AssertionError("unreachable")


def _check_size(artifact: Artifact, part: Path, folder: Path) -> None:
    if artifact.size > MOST_BYTES:
        raise InstallFailed(f"{artifact.filename} has {artifact.size:,} bytes; a package has at most {MOST_BYTES:,}")
    present = part.stat().st_size if part.exists() else 0
    # Unpacked it lies there a second time.
    wanted, free = 2 * artifact.size - present, free_bytes(folder)
    if free < wanted:
        raise InstallFailed(f"the disk is full: {free:,} bytes are free, and {wanted:,} are needed for {artifact.filename}")


def _fetch(wire: Wire, disk: Disk, artifact: Artifact, part: Path) -> None:
    """Until ``part`` has as many bytes as were announced."""
    present = part.stat().st_size if part.exists() else 0
    if present > artifact.size:
        disk.remove(part)
        present = 0
    if part.exists() and present == artifact.size:
        return
    if artifact.url is None:
        raise InstallFailed(f"the server says not where {artifact.filename} is")
    validator = part.with_suffix(".etag")
    with wire.streaming("GET", artifact.url, headers=_range(present, validator)) as answer:
        if answer.status_code in {404, 410}:
            raise NoSuchAction(f"{artifact.filename} is there no more")
        if answer.status_code == 416:
            disk.remove(part)
            raise Unreachable("the server has another file than before")
        if answer.status_code not in {200, 206}:
            raise Unreachable(f"the server answers {answer.status_code} to a download")
        if answer.status_code == 206 and not _continues(answer, present):
            disk.remove(part)
            raise Unreachable("the server sent another part than was asked for")
        if answer.status_code == 200:
            disk.remove(part)
            present = 0
        _remember(disk, validator, answer)
        _take(disk, answer, part, artifact.size - present)


def _take(disk: Disk, answer: httpx.Response, part: Path, wanted: int) -> None:
    with disk.appending(part) as add:
        for piece in answer.iter_bytes(_CHUNK):
            add(piece[:wanted])
            wanted -= len(piece)
            if wanted < 0:
                break
    if wanted > 0:
        raise Unreachable(f"the download broke off {wanted:,} bytes before its end")


def _range(present: int, validator: Path) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if present:
        headers["Range"] = f"bytes={present}-"
        if validator.exists() and (etag := validator.read_text("latin-1").strip()):
            headers["If-Range"] = etag
    return headers


def _continues(answer: httpx.Response, present: int) -> bool:
    return answer.status_code == 206 and answer.headers.get("content-range", "").startswith(f"bytes {present}-")


def _remember(disk: Disk, validator: Path, answer: httpx.Response) -> None:
    """The ETag that a later part must have; a weak one says nothing about bytes (RFC 9110, 13.1.5)."""
    etag = answer.headers.get("etag", "")
    known = validator.read_text("latin-1") if validator.exists() else ""
    if etag.startswith('"') and len(etag) < 200 and etag != known:
        disk.replace(validator, etag.encode("latin-1", "replace"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
