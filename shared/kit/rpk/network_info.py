"""network_info.txt of an rpk: which networks there are, their tensors, and what the sensor does to a pixel before them.

Lines of ``key=value``; those of a network follow its ``networkOrdinal``. Keys and arithmetic are those of picamera2's `IMX500`
(BSD) and of Sony's edge device core (`sensor_fw_update_lib_impl.c`, Apache-2.0): for RGB a channel is pixel * K / 1024 + offset
/ 16, with K of 12 and offset of 13 bits, both in two's complement; for Y it is pixel * gain / 32 + offset, with one of 9 bits.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.kit.rpk.errors import RpkError

MAX_INFO_BYTES: Final = 64 * 1024
MAX_NETWORKS: Final = 16
MAX_TENSORS: Final = 30
"""Sony's limit of output tensors."""
_LINE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_]{0,63})=([^=]{0,127})")
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]{1,8}|[0-9]{1,10}")
_GAINS: Final = {"RGB": ("K00", "K11", "K22"), "BGR": ("K02", "K11", "K20")}
_OFFSETS: Final = ("K03", "K13", "K23")


@dataclass(frozen=True, slots=True)
class Channel:
    """What the network gets of a pixel, 0 to 255: ``gain`` times it, plus ``offset``."""

    name: str
    gain: float
    offset: float


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor as it leaves the sensor."""

    elements: int
    bytes_per_element: int
    padding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network. ``channels`` is empty for formats other than RGB, BGR and Y."""

    ordinal: int
    width: int
    height: int
    format: str
    channels: tuple[Channel, ...]
    outputs: tuple[OutputTensor, ...]
    properties: Mapping[str, str]
    """Every line of it, as it stands there."""


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """All of network_info.txt."""

    network_id: str
    networks: tuple[Network, ...]


def parse_info(content: bytes) -> NetworkInfo:
    """What network_info.txt says. RpkError names the line or key."""
    if len(content) > MAX_INFO_BYTES:
        raise RpkError(f"network_info.txt has more than {MAX_INFO_BYTES:,} bytes")
    common: dict[str, str] = {}
    found: dict[int, dict[str, str]] = {}
    current = common
    for key, value in _lines(content):
        if key == "networkOrdinal":
            current = found.setdefault(_number({key: value}, key), {})
        current.setdefault(key, value)
    if _number(common, "networkNum") != len(found) or sorted(found) != list(range(len(found))):
        raise RpkError(f"network_info.txt promises {common['networkNum']} networks and describes {sorted(found)}")
    if not 1 <= len(found) <= MAX_NETWORKS:
        raise RpkError(f"network_info.txt describes {len(found)} networks; there are 1 to {MAX_NETWORKS}")
    return NetworkInfo(common.get("networkID", ""), tuple(_network(ordinal, found[ordinal]) for ordinal in sorted(found)))


def _lines(content: bytes) -> list[tuple[str, str]]:
    try:
        lines = content.decode("ascii").splitlines()
    except UnicodeDecodeError as exc:
        raise RpkError("network_info.txt is no ASCII text") from exc
    found = []
    for number, line in enumerate(lines, 1):
        if line := line.strip():
            parts = _LINE.fullmatch(line)
            if parts is None:
                raise RpkError(f"line {number} of network_info.txt is not written key=value: {line[:60]!r}")
            found.append((parts[1], parts[2]))
    return found


def _network(ordinal: int, properties: dict[str, str]) -> Network:
    form = properties.get("inputTensorFormat", "")
    return Network(
        ordinal=ordinal,
        width=_number(properties, "inputTensorWidth"),
        height=_number(properties, "inputTensorHeight"),
        format=form,
        channels=_channels(form, properties),
        outputs=_outputs(properties),
        properties=properties,
    )


def _channels(form: str, properties: Mapping[str, str]) -> tuple[Channel, ...]:
    if form == "Y":
        gain, offset = (_number(properties, f"inputTensorNorm_{name}") for name in ("YGain", "YAdd"))
        return (Channel("Y", gain / 32, _signed(offset, 9)),)
    channels = []
    for name, gain_key, offset_key in zip(form, _GAINS.get(form, ()), _OFFSETS, strict=False):
        gain = _signed(_number(properties, f"inputTensorNorm_{gain_key}"), 12)
        offset = _signed(_number(properties, f"inputTensorNorm_{offset_key}"), 13)
        channels.append(Channel(name, gain / 1024, offset / 16))
    return tuple(channels)


def _outputs(properties: Mapping[str, str]) -> tuple[OutputTensor, ...]:
    count = _number(properties, "outputTensorNum")
    if not 1 <= count <= MAX_TENSORS:
        raise RpkError(f"network_info.txt: outputTensorNum is {count}; there are 1 to {MAX_TENSORS}")
    return tuple(
        OutputTensor(
            _number(properties, f"outputTensorDimSize{number}", 0),
            _number(properties, f"outputTensorBytesPerElement{number}", 1),
            _number(properties, f"outputTensorPadding{number}", 0),
        )
        for number in range(1, count + 1)
    )


def _number(properties: Mapping[str, str], key: str, default: int | None = None) -> int:
    text = properties.get(key)
    if text is None and default is not None:
        return default
    if text is None or not _NUMBER.fullmatch(text):
        raise RpkError(f"network_info.txt: {key} is {text!r}, not a number" if text else f"network_info.txt lacks {key}")
    return int(text, 16 if text[:2] in ("0x", "0X") else 10)


def _signed(value: int, bits: int) -> int:
    """The two's complement in the lowest ``bits`` of a register."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value
