"""packerOut.zip: the network as the sensor loads it, the description of its tensors and the list of its files.

It is an archive that is read, and may come from elsewhere: sizes are limited, names are plain, sums are checked.
"""

import hashlib
import json
import re
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.packaging.errors import bad_output

MANIFEST: Final = "manifest.json"
PARAMETERS: Final = "dnnParams.xml"
_MAX_ZIP_BYTES: Final = 64 * 1024**2
_MAX_FILE_BYTES: Final = 16 * 1024**2
"""Twice what the sensor holds."""
_MAX_FILES: Final = 64
_MAX_TEXT_BYTES: Final = 1024**2
_MAX_DIMENSIONS: Final = 8
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or an output. A code stands for ``code * scale * 2**-shift``."""

    name: str
    shape: tuple[int, ...]
    """Channels, height, width."""
    bits: int
    signed: bool
    scale: float
    shift: int
    persistent: bool | None
    """Of inputs: whether the camera can read it beside the outputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network of dnnParams.xml."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class PackedFile(BaseModel):
    """A file that manifest.json lists."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(alias="File")
    size_bytes: int = Field(alias="Size", ge=0, le=_MAX_FILE_BYTES)
    md5: str = Field(pattern=r"^[0-9A-F]{32}$")
    load_address: str = Field(alias="LoadAddr")


@dataclass(frozen=True, slots=True, kw_only=True)
class PackerOutput:
    """What packerOut.zip holds."""

    size_bytes: int
    release: str
    """Of the converter's back end, as 3.19.1."""
    stamp: str
    """When it was packed: with the entries' times in the zip all that differs when the same network is converted again."""
    content_digest: str
    """sha256 over names and contents of all files but manifest.json: equal for the same network."""
    files: tuple[PackedFile, ...]
    networks: tuple[Network, ...]


def read_packer_output(path: Path) -> PackerOutput:
    """Reads and checks packerOut.zip; JobFailed (``bad_converter_output``) that names what is wrong with it."""
    try:
        contents = _contents(path)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as exc:
        raise bad_output(f"{path.name} cannot be read: {exc}") from exc
    manifest = _manifest(contents)
    return PackerOutput(
        size_bytes=path.stat().st_size,
        release=_words(manifest, "Release Version"),
        stamp=_words(manifest, "Date Info"),
        content_digest=_content_digest(contents),
        files=_files(manifest, contents),
        networks=parse_parameters(_text(contents, PARAMETERS)),
    )


def parse_parameters(text: bytes) -> tuple[Network, ...]:
    """The networks of a dnnParams.xml; JobFailed (``bad_converter_output``) if it is none."""
    if b"<!" in text.replace(b"<!--", b""):
        raise bad_output(f"{PARAMETERS} has a document type of its own")  # and with it the means to blow up
    try:
        found = tuple(map(_network, ElementTree.fromstring(text).iterfind("networks/network")))
    except (ElementTree.ParseError, LookupError, ValueError) as exc:
        raise bad_output(f"{PARAMETERS} is not what the converter writes: {type(exc).__name__}: {exc}") from exc
    if not found:
        raise bad_output(f"{PARAMETERS} lists no network")
    return found


def _network(element: ElementTree.Element) -> Network:
    return Network(
        name=element.attrib["name"],
        inputs=tuple(map(_tensor, element.iterfind("inputTensors/inputTensor"))),
        outputs=tuple(map(_tensor, element.iterfind("outputTensors/outputTensor"))),
    )


def _tensor(element: ElementTree.Element) -> Tensor:
    told, persistency = element.attrib, element.get("persistency")
    sizes = {int(found.attrib["ordinal"]): int(found.attrib["size"]) for found in element.iterfind("dimensions/dimension")}
    if not 0 < len(sizes) <= _MAX_DIMENSIONS or min(sizes.values()) < 1:
        raise ValueError(f"tensor {told['name']!r} has the dimensions {sizes}")
    return Tensor(
        name=told["name"],
        shape=tuple(size for _, size in sorted(sizes.items())),
        bits=int(told["bitsPerElement"]),
        signed={"signed": True, "unsigned": False}[told["format"]],
        scale=float(told["scale"]),
        shift=int(told["shift"]),
        persistent=None if persistency is None else persistency == "1",
    )


def _contents(path: Path) -> dict[str, bytes]:
    """All files by name. Sizes are counted as the bytes come out, never believed."""
    if path.stat().st_size > _MAX_ZIP_BYTES:
        raise bad_output(f"{path.name} is larger than {_MAX_ZIP_BYTES:,} bytes")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > _MAX_FILES:
            raise bad_output(f"{path.name} holds more than {_MAX_FILES} files")
        return {member.filename: _content(archive, member) for member in members}


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not _NAME.fullmatch(member.filename) or kind not in (0, stat.S_IFREG) or member.flag_bits & 1:
        raise bad_output(f"the archive holds {member.filename[:100]!r}, which is no plain file")
    with archive.open(member) as file:
        found = file.read(_MAX_FILE_BYTES + 1)
    if len(found) > _MAX_FILE_BYTES:
        raise bad_output(f"{member.filename} unpacks to more than {_MAX_FILE_BYTES:,} bytes")
    return found


def _manifest(contents: dict[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(_text(contents, MANIFEST))
    except (ValueError, RecursionError) as exc:
        raise bad_output(f"{MANIFEST} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise bad_output(f"{MANIFEST} is no JSON object")
    return found


def _files(manifest: dict[str, Any], contents: dict[str, bytes]) -> tuple[PackedFile, ...]:
    """The listed files, each of which is there with the size and the sum that the list tells, and no other is."""
    try:
        listed = [PackedFile.model_validate(entry) for entry in manifest.values() if isinstance(entry, dict)]
    except ValidationError as exc:
        wrong = exc.errors(include_url=False, include_input=False)[0]
        raise bad_output(f"{MANIFEST}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from exc
    for file in listed:
        found = contents.get(file.name)
        if found is None or len(found) != file.size_bytes or _md5(found) != file.md5:
            raise bad_output(f"{file.name} is not the file that {MANIFEST} lists")
    if others := sorted(contents.keys() - {file.name for file in listed} - {MANIFEST}):
        raise bad_output(f"{MANIFEST} does not list {', '.join(others)}")
    return tuple(listed)


def _content_digest(contents: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        if name != MANIFEST:
            total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest().upper()


def _text(contents: dict[str, bytes], name: str) -> bytes:
    found = contents.get(name)
    if found is None or len(found) > _MAX_TEXT_BYTES:
        raise bad_output(f"the archive holds no {name} of a sensible size")
    return found


def _words(manifest: dict[str, Any], key: str) -> str:
    found = manifest.get(key)
    if not isinstance(found, str) or not found:
        raise bad_output(f"{MANIFEST} has no {key}")
    return found[:100]
