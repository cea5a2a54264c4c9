"""packerOut.zip: the network as the sensor loads it, the description of its tensors, and the list of its files.

It is looked into, never trusted: sizes are limited, names are plain, sums are checked.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared import archives
from shared.contracts.packages import CONVERTED, MAX_FILE_BYTES
from shared.kit.packages.errors import PackageUnreadable
from shared.kit.packages.folder import words

LIMITS: Final = archives.Limits(max_bytes=MAX_FILE_BYTES, max_files=64, max_ratio=100, max_depth=1)
PARAMETERS: Final = "dnnParams.xml"
PACKED: Final = "manifest.json"
MAX_TEXT_BYTES: Final = 256 * 1024
_MAX_DIMENSIONS: Final = 8
IMAGENET_STEP: Final = 1 / (255 * 0.226)
"""How much a step of a pixel is worth to a network that was trained on ImageNet's mean and std."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output: codes of ``bits``."""

    name: str
    shape: tuple[int, ...]
    """Channels, height, width."""
    bits: int
    signed: bool
    scale: float
    shift: int = 0
    persistent: bool | None = None
    """Of inputs: whether the camera can read it beside the outputs."""

    @property
    def step(self) -> float:
        """What a code is worth."""
        return float(self.scale * 2.0**-self.shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as the converter left it."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFile:
    """A file that the converter's own manifest lists."""

    name: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What a packerOut.zip holds."""

    size_bytes: int
    release: str
    """Of the converter's back end, as 3.19.1."""
    stamp: str
    """When it was packed: with the entries' times in the zip all that differs when the same network is converted again."""
    content_digest: str
    """sha256 over names and contents of all files but manifest.json: equal for the same network."""
    files: tuple[PackedFile, ...]
    networks: tuple[Network, ...]


def read_converted(path: Path) -> Converted:
    """What is in a packerOut.zip whose files are those of its manifest. PackageUnreadable names what is wrong."""
    contents = _contents(path)
    manifest = _manifest(contents)
    return Converted(
        size_bytes=path.stat().st_size,
        release=_text(manifest, "Release Version"),
        stamp=_text(manifest, "Date Info"),
        content_digest=_content_digest(contents),
        files=_files(manifest, contents),
        networks=read_parameters(_small(contents, PARAMETERS)),
    )


def read_parameters(content: bytes) -> tuple[Network, ...]:
    """The networks of a dnnParams.xml. PackageUnreadable."""
    if len(content) > MAX_TEXT_BYTES or b"<!" in content.replace(b"<!--", b""):  # entities can grow without bound
        raise _refused(f"{PARAMETERS}: too large, or with declarations")
    try:
        found = tuple(map(_network, ElementTree.fromstring(content).iterfind("networks/network")))
    except ElementTree.ParseError as exc:
        raise _refused(f"{PARAMETERS}: {exc}") from exc
    except (LookupError, ValueError, OverflowError) as exc:
        raise _refused(f"{PARAMETERS}: a tensor lacks or misstates {exc}") from exc
    if not found:
        raise _refused(f"{PARAMETERS}: no network")
    return found


def warnings(converted: Converted) -> list[str]:
    """What a user should know before trusting the network's answers."""
    return [
        f"{network.name} takes a signed input of scale {tensor.step:g}: the sensor hands over pixel - 128 times that, without "
        f"mean and std. If it was calibrated on ImageNet's, it sees {tensor.step / IMAGENET_STEP:.1f} times the contrast"
        for network in converted.networks
        for tensor in network.inputs
        if tensor.signed
    ]


def _network(element: ElementTree.Element) -> Network:
    return Network(
        name=element.attrib["name"],
        inputs=tuple(map(_tensor, element.iterfind("inputTensors/inputTensor"))),
        outputs=tuple(map(_tensor, element.iterfind("outputTensors/outputTensor"))),
    )


def _tensor(element: ElementTree.Element) -> Tensor:
    told, persistency = element.attrib, element.get("persistency")
    sizes = {int(each.attrib["ordinal"]): int(each.attrib["size"]) for each in element.iterfind("dimensions/dimension")}
    if not 0 < len(sizes) <= _MAX_DIMENSIONS or min(sizes.values()) < 1:
        raise ValueError(f"{told['name']!r}: the dimensions {sizes}")
    tensor = Tensor(
        name=told["name"],
        shape=tuple(size for _, size in sorted(sizes.items())),
        bits=int(told["bitsPerElement"]),
        signed={"signed": True, "unsigned": False}[told["format"]],
        scale=float(told["scale"]),
        shift=int(told["shift"]),
        persistent=None if persistency is None else persistency == "1",
    )
    if not 0 < tensor.step < float("inf"):
        raise ValueError(f"{tensor.name!r}: a scale of {tensor.step}")
    return tensor


# The archive


def _contents(path: Path) -> dict[str, bytes]:
    """All files by name."""
    contents: dict[str, bytes] = {}
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                raise PackageUnreadable(f"{CONVERTED} is no zip", file=CONVERTED)
        for entry in archives.entries(path, limits=LIMITS):
            if entry.name in contents:
                raise _refused(f"{entry.name!r} is there twice")
            contents[entry.name] = b"".join(entry.pieces)
    except archives.ArchiveRefused as exc:
        raise _refused(str(exc)) from exc
    except OSError as exc:
        raise _refused(f"it cannot be read: {exc}") from exc
    return contents


class _Entry(BaseModel):
    """An entry of the converter's manifest."""

    model_config = ConfigDict(extra="ignore")

    name: str = Field(alias="File")
    size_bytes: int = Field(alias="Size", ge=0, le=MAX_FILE_BYTES)
    md5: str = Field(pattern=r"^[0-9A-F]{32}$")


def _manifest(contents: dict[str, bytes]) -> dict[str, Any]:
    try:
        found = json.loads(_small(contents, PACKED))
    except (ValueError, RecursionError) as exc:
        raise _refused(f"{PACKED} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise _refused(f"{PACKED} is no JSON object")
    return found


def _files(manifest: dict[str, Any], contents: dict[str, bytes]) -> tuple[PackedFile, ...]:
    """The listed files, each of which is there with the size and the sum that the list tells, and no other is."""
    try:
        listed = [_Entry.model_validate(entry) for entry in manifest.values() if isinstance(entry, dict)]
    except ValidationError as exc:
        raise _refused(f"{PACKED}: {words(exc)}") from exc
    for entry in listed:
        found = contents.get(entry.name)
        if found is None or len(found) != entry.size_bytes or _md5(found) != entry.md5:
            raise _refused(f"{entry.name!r} is not the file that {PACKED} lists")
    if others := sorted(contents.keys() - {entry.name for entry in listed} - {PACKED}):
        raise _refused(f"{PACKED} does not list {others[0]!r}")
    return tuple(PackedFile(name=entry.name, size_bytes=entry.size_bytes, md5=entry.md5) for entry in listed)


def _content_digest(contents: dict[str, bytes]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        if name != PACKED:
            total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest().upper()


def _small(contents: dict[str, bytes], name: str) -> bytes:
    found = contents.get(name)
    if found is None or len(found) > MAX_TEXT_BYTES:
        raise _refused(f"it holds no {name} of a sensible size")
    return found


def _text(manifest: dict[str, Any], key: str) -> str:
    found = manifest.get(key)
    if not isinstance(found, str) or not found:
        raise _refused(f"{PACKED} has no {key}")
    return found[:100]


def _refused(what: str) -> PackageUnreadable:
    return PackageUnreadable(f"{CONVERTED}, {what}", file=CONVERTED)
