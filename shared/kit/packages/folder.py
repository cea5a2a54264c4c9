"""A package as a folder: what lies in it, and how it is written."""

import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from shared.contracts.base import digest_of_file
from shared.contracts.packages import (
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_FILES,
    RPK,
    SIGNATURE,
    PackageFacts,
    PackageFile,
    PackageManifest,
    PackagePath,
    RpkState,
)
from shared.kit.packages.errors import FileDiffers, FileMissing, FileUnknown, ManifestInvalid, PackageUnreadable

MAX_DEPTH: Final = 4
MAX_DESCRIPTION_BYTES: Final = 256 * 1024
"""Of manifest.json and its kin: they are read into memory before anybody vouches for them."""
_PLACE: Final = TypeAdapter[str](PackagePath)


def listed(folder: Path) -> dict[str, Path]:
    """All files below ``folder`` by their place in it. PackageUnreadable for links, devices, too many or too deep."""
    found: dict[str, Path] = {}
    for path in _walk(folder, MAX_DEPTH):
        place = path.relative_to(folder).as_posix()
        if len(found) >= MAX_FILES + 2:
            raise PackageUnreadable(f"the package holds more than {MAX_FILES + 2} files", file=place)
        found[place] = path
    return dict(sorted(found.items()))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode) and depth > 1 and number <= MAX_FILES + 2:
                yield from _walk(Path(entry.path), depth - 1)
            elif stat.S_ISREG(mode):
                yield Path(entry.path)
            else:
                raise PackageUnreadable(f"{entry.name!r} is a link, a device or nested too deep", file=entry.name)


def description(folder: Path, place: str) -> bytes:
    """The bytes of a small file. FileMissing, or PackageUnreadable if it is not small."""
    try:
        with (folder / place).open("rb") as file:
            content = file.read(MAX_DESCRIPTION_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise FileMissing(f"{place} is missing", file=place) from exc
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise PackageUnreadable(f"{place} has more than {MAX_DESCRIPTION_BYTES:,} bytes", file=place)
    return content


def read_manifest(folder: Path) -> PackageManifest:
    """What manifest.json says, whoever wrote it. ManifestInvalid names the field."""
    return parsed_manifest(description(folder, MANIFEST))


def parsed_manifest(content: bytes) -> PackageManifest:
    """The manifest in these bytes. ManifestInvalid names the field."""
    try:
        return PackageManifest.model_validate_json(content)
    except ValidationError as exc:
        raise ManifestInvalid(f"{MANIFEST}: {words(exc)}", file=MANIFEST) from exc


def words(exc: ValidationError) -> str:
    """The first thing that is wrong, with its field."""
    error = exc.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in error["loc"])
    return f"{field}: {error['msg']}" if field else error["msg"]


def check_files(folder: Path, manifest: PackageManifest) -> None:
    """That exactly the manifest's files are there, each with its digest and size. FileUnknown, FileMissing, FileDiffers."""
    found = listed(folder)
    expected = {file.path: file for file in manifest.files}
    for place in found.keys() - expected.keys() - {MANIFEST, SIGNATURE}:
        raise FileUnknown(f"{place!r} is not in the manifest", file=place)
    for place, file in expected.items():
        if place not in found:
            raise FileMissing(f"{place} is missing", file=place)
        check_file(found[place], file)


def check_file(path: Path, expected: PackageFile) -> None:
    """That ``path`` holds these bytes. FileDiffers names digest or size."""
    size = path.stat().st_size
    if size != expected.size_bytes:
        raise FileDiffers(f"{expected.path} has {size:,} bytes, not {expected.size_bytes:,}", file=expected.path)
    digest = digest_of_file(path)
    if digest != expected.digest:
        raise FileDiffers(f"{expected.path} is {digest}, not {expected.digest}", file=expected.path)


def write_package(folder: Path, facts: PackageFacts, contents: Mapping[str, bytes | Path]) -> PackageManifest:
    """Writes a package of ``contents`` (by place; bytes, or a file to copy), unsigned, and says what is in it.

    ``folder`` must not be there yet and appears whole or not at all. The same facts and contents give the same bytes.
    ValueError where facts and contents do not go together, as without packerOut.zip.
    """
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    try:
        for place, content in contents.items():
            _put(partial / _PLACE.validate_python(place), content)
        manifest = _described(partial, facts, contents)
        _put(partial / MANIFEST, manifest_bytes(manifest))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _described(folder: Path, facts: PackageFacts, places: Mapping[str, bytes | Path]) -> PackageManifest:
    files = [_described_file(folder, place) for place in sorted(places)]
    rpk = RpkState.INCLUDED if RPK in places else RpkState.PENDING
    return PackageManifest(**facts.model_dump(), rpk=rpk, files=files)


def _described_file(folder: Path, place: str) -> PackageFile:
    path = folder / place
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(f"{place} has {size:,} bytes; a package takes files up to {MAX_FILE_BYTES:,}")
    return PackageFile(path=place, digest=digest_of_file(path), size_bytes=size)


def _put(path: Path, content: bytes | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    path.chmod(0o644)


def manifest_bytes(manifest: PackageManifest) -> bytes:
    """manifest.json: UTF-8, two spaces, one newline at its end."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def set_release(folder: Path, release: int) -> PackageManifest:
    """Gives an unsigned package its number; a signature that is there already goes, since it vouched for another manifest."""
    manifest = PackageManifest(**read_manifest(folder).model_dump() | {"release": release})
    partial = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}"
    _put(partial, manifest_bytes(manifest))
    (folder / SIGNATURE).unlink(missing_ok=True)
    partial.replace(folder / MANIFEST)
    return manifest
