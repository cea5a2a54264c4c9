"""What is in packerOut.zip: the converter's files, and the tensors that its dnnParams.xml describes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

from shared import archives
from shared.contracts.packages import CONVERTED, MAX_FILE_BYTES
from shared.kit.packages.errors import PackageUnreadable

LIMITS: Final = archives.Limits(max_bytes=MAX_FILE_BYTES, max_files=64, max_ratio=100, max_depth=4)
PARAMETERS: Final = "dnnParams.xml"
MAX_PARAMETERS_BYTES: Final = 256 * 1024
IMAGENET_STEP: Final = 1 / (255 * 0.226)
"""How much a step of a pixel is worth to a network that was trained on ImageNet's mean and std."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output: codes of ``bits``, worth ``scale`` each."""

    name: str
    shape: tuple[int, ...]
    bits: int
    scale: float
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertedNetwork:
    """A network as the converter left it."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """Sizes by name, and the networks; none where there is no dnnParams.xml."""

    files: dict[str, int]
    networks: tuple[ConvertedNetwork, ...]


def read_converted(path: Path) -> Converted:
    """What is in a packerOut.zip. PackageUnreadable."""
    files: dict[str, int] = {}
    parameters = b""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                raise PackageUnreadable(f"{CONVERTED} is no zip", file=CONVERTED)
        for entry in archives.entries(path, limits=LIMITS):
            if entry.name in files:
                raise PackageUnreadable(f"{CONVERTED} holds {entry.name!r} twice", file=CONVERTED)
            if entry.name == PARAMETERS:
                parameters = b"".join(entry.pieces)
                files[entry.name] = len(parameters)
            else:
                files[entry.name] = sum(len(piece) for piece in entry.pieces)
    except archives.ArchiveRefused as exc:
        raise PackageUnreadable(f"{CONVERTED}: {exc}", file=CONVERTED) from exc
    return Converted(files=files, networks=tuple(_networks(parameters)) if parameters else ())


def warnings(converted: Converted) -> list[str]:
    """What a user should know before trusting the network's answers."""
    return [
        f"{network.name} takes a signed input of scale {tensor.scale:g}: the sensor hands over pixel - 128 times that, without "
        f"mean and std. If it was calibrated on ImageNet's, it sees {tensor.scale / IMAGENET_STEP:.1f} times the contrast"
        for network in converted.networks
        for tensor in network.inputs
        if tensor.signed
    ]


def _networks(content: bytes) -> Iterator[ConvertedNetwork]:
    for network in _root(content).iter("network"):
        try:
            yield ConvertedNetwork(
                name=network.get("name", ""),
                inputs=tuple(_tensor(each) for each in network.iter("inputTensor")),
                outputs=tuple(_tensor(each) for each in network.iter("outputTensor")),
            )
        except (KeyError, ValueError) as exc:
            raise PackageUnreadable(f"{CONVERTED}, {PARAMETERS}: a tensor lacks or misstates {exc}", file=CONVERTED) from exc


def _root(content: bytes) -> ElementTree.Element:
    if len(content) > MAX_PARAMETERS_BYTES or b"<!" in content:  # entities can grow without bound; the converter writes none
        raise PackageUnreadable(f"{CONVERTED}, {PARAMETERS}: too large, or with declarations", file=CONVERTED)
    try:
        return ElementTree.fromstring(content)
    except ElementTree.ParseError as exc:
        raise PackageUnreadable(f"{CONVERTED}, {PARAMETERS}: {exc}", file=CONVERTED) from exc


def _tensor(element: ElementTree.Element) -> Tensor:
    dimensions = sorted(element.iter("dimension"), key=lambda each: int(each.attrib["ordinal"]))
    return Tensor(
        name=element.attrib["name"],
        shape=tuple(int(each.attrib["size"]) for each in dimensions),
        bits=int(element.attrib["bitsPerElement"]),
        scale=float(element.attrib["scale"]),
        signed=element.attrib["format"] == "signed",
    )
