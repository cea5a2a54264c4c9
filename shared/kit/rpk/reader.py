"""Reads a network.rpk, says what the sensor will not do, and writes other intrinsics into it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json

from shared.kit.rpk.blocks import Blocks, read_blocks
from shared.kit.rpk.cpio import Archive, read_archive, with_file, without_file
from shared.kit.rpk.errors import RpkError
from shared.kit.rpk.intrinsics import check_intrinsics
from shared.kit.rpk.network_info import Channel, Network, NetworkInfo, parse_info

MAX_RPK_BYTES: Final = 32 * 1024**2
"""The chip holds 8 MB, and the file is not compressed."""
MAX_INTRINSICS_BYTES: Final = 256 * 1024
INFO: Final = "network_info.txt"
INTRINSICS: Final = "network_intrinsics"
REGISTERS: Final = "imx500_regs"
_REGISTER_BYTES: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpk:
    """A network.rpk."""

    blocks: Blocks
    info: NetworkInfo
    intrinsics: dict[str, Any] | None
    registers: int
    """Settings that the driver writes before the network runs."""
    files: tuple[str, ...]
    """Names in the archive behind the blocks."""


def read(path: Path) -> Rpk:
    """The rpk in ``path``. RpkError; OSError if the file cannot be read."""
    return parse(contents(path))


def contents(path: Path) -> bytes:
    """The bytes of a file that may be an rpk. RpkError if it is too large for one."""
    with path.open("rb") as file:
        content = file.read(MAX_RPK_BYTES + 1)
    if len(content) > MAX_RPK_BYTES:
        raise RpkError(f"the file has more than {MAX_RPK_BYTES:,} bytes; the sensor holds 8 MB")
    return content


def parse(content: bytes) -> Rpk:
    """The rpk in these bytes. RpkError."""
    blocks, archive = _split(content)
    info = archive.content(INFO)
    if info is None:
        names = ", ".join(entry.name for entry in archive.entries) or "nothing"
        raise RpkError(f"the archive behind the blocks holds no {INFO}, but {names}")
    return Rpk(
        blocks=blocks,
        info=parse_info(info),
        intrinsics=_intrinsics(archive.content(INTRINSICS)),
        registers=len(archive.content(REGISTERS) or b"") // _REGISTER_BYTES,
        files=tuple(entry.name for entry in archive.entries),
    )


def with_intrinsics(content: bytes, intrinsics: Mapping[str, Any] | None) -> bytes:
    """The rpk with other intrinsics, or without any; every byte beside them is as it was. RpkError, also for bad intrinsics."""
    blocks, archive = _split(content)
    if intrinsics is None:
        changed = without_file(archive, INTRINSICS)
    else:
        check_intrinsics(intrinsics)
        written = json.dumps(intrinsics, ensure_ascii=False).encode()
        if len(written) > MAX_INTRINSICS_BYTES:
            raise RpkError(f"the intrinsics have more than {MAX_INTRINSICS_BYTES:,} bytes")
        changed = with_file(archive, INTRINSICS, written)
    return content[: blocks.size_bytes] + changed.to_bytes()


def warnings(rpk: Rpk) -> list[str]:
    """What a user should know before trusting the network's answers."""
    return [text for network in rpk.info.networks for text in _network_warnings(network)]


def _split(content: bytes) -> tuple[Blocks, Archive]:
    blocks = read_blocks(content)
    return blocks, read_archive(content[blocks.size_bytes :])


def _intrinsics(content: bytes | None) -> dict[str, Any] | None:
    if content is None:
        return None
    if len(content) > MAX_INTRINSICS_BYTES:
        raise RpkError(f"{INTRINSICS} has more than {MAX_INTRINSICS_BYTES:,} bytes")
    try:
        found = from_json(content)
    except ValueError as exc:
        raise RpkError(f"{INTRINSICS} is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise RpkError(f"{INTRINSICS} holds no JSON object")
    return found


def _network_warnings(network: Network) -> list[str]:
    name = f"network {network.ordinal}"
    if not network.channels:
        return [f"{name} takes {network.format or 'an unnamed format'}; what the sensor does to its pixels is not known here"]
    if any(not _is_plain(channel) for channel in network.channels):
        return []
    found = []
    if network.channels[0].offset:
        found.append(
            f"{name} gets pixel - 128 times a power of two: the sensor applies no mean and no std. A network that was "
            "calibrated on images normalised by ImageNet's sees about 1.8 times the contrast; the normalisation belongs into it"
        )
    if network.format == "BGR":
        found.append(f"{name} takes BGR; Picofleet's own networks take RGB")
    return found


def _is_plain(channel: Channel) -> bool:
    """True for pixel or pixel - 128 times a power of two, which is no normalisation by mean and std."""
    ratio = channel.offset / channel.gain if channel.gain else 1
    return channel.gain > 0 and float(channel.gain).hex().startswith("0x1.0000000000000p") and ratio in (0, -128)
