"""The first part of a network.rpk: the blocks that the sensor's loader takes.

The file is Sony's fpk with the bytes of every 32-bit word reversed, so its little-endian fields are big-endian here. The layout
is that of Sony's edge device core (`sensor_fw_update_lib_imx500.c`, Apache-2.0), picamera2's `IMX500` (BSD) and Sony's modlib
(Apache-2.0): 32 bytes of header (``9464``, data size, number of blocks, number of this one from 1 on, flags), the data, 32
bytes of footer that end with ``3695``, and 32 more with a message authentication code if byte 14 says so. The data of the first
block begin with a packet header: 16 bytes, then a version of 16 digits. There is no checksum.
"""

import struct
from dataclasses import dataclass
from typing import Final

from shared.kit.rpk.errors import RpkError

MAX_BLOCK_BYTES: Final = 1024**2
_HEADER: Final = struct.Struct(">4sIHH4s")
_HEADER_BYTES: Final = 32
_FOOTER_BYTES: Final = 32
_CODE_BYTES: Final = 32
_MAGIC: Final = b"9464"
_END: Final = b"3695"
_VERSION: Final = slice(0x30, 0x40)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The sensor's part of the file."""

    count: int
    size_bytes: int
    """From the beginning of the file, with headers and footers: the archive follows."""
    authenticated: bool
    """True if blocks carry message authentication codes, as those for locked devices do."""
    version: str


def read_blocks(content: bytes) -> Blocks:
    """The blocks at the beginning of ``content``. RpkError."""
    if not content.startswith(_MAGIC):
        raise _foreign(content)
    offset, count, total, authenticated = 0, 0, 1, False
    while count < total:
        size, total, number, coded = _header(content, offset, count + 1)
        if number != count + 1 or number > total:
            raise RpkError(f"block {count + 1} says that it is block {number} of {total}")
        offset = _end(content, offset, size, number) + _CODE_BYTES * coded
        count, authenticated = number, authenticated or coded
    if offset > len(content):
        raise _cut(count, len(content))
    return Blocks(count=count, size_bytes=offset, authenticated=authenticated, version=_version(content))


def _header(content: bytes, offset: int, number: int) -> tuple[int, int, int, bool]:
    if len(content) - offset < _HEADER_BYTES:
        raise _cut(number, len(content))
    magic, size, total, current, flags = _HEADER.unpack_from(content, offset)
    if magic != _MAGIC:
        raise RpkError(f"block {number} does not begin with {_MAGIC.decode()} at byte {offset:,}")
    if not 0 < size <= MAX_BLOCK_BYTES:
        raise RpkError(f"block {number} says that it has {size:,} bytes; there are 1 to {MAX_BLOCK_BYTES:,}")
    return size, total, current, bool(flags[2] & 1)


def _end(content: bytes, offset: int, size: int, number: int) -> int:
    end = offset + _HEADER_BYTES + size + _FOOTER_BYTES
    if end > len(content):
        raise _cut(number, len(content))
    if content[end - len(_END) : end] != _END:
        raise RpkError(f"block {number} does not end with {_END.decode()} at byte {end:,}")
    return end


def _version(content: bytes) -> str:
    version = content[_VERSION]
    if len(version) < 16 or not version.isdigit():
        raise RpkError(f"the version of the network is {version!r}, not 16 digits")
    return version.decode("ascii")


def _cut(number: int, size: int) -> RpkError:
    return RpkError(f"the file is cut off in block {number}, after {size:,} bytes", hint="Copy it again.")


def _foreign(content: bytes) -> RpkError:
    if content.startswith(b"PK"):
        hint = "That is a zip, as packerOut.zip is: imx500-package makes network.rpk of it, on the camera."
        return RpkError("the file is a zip, not an rpk", hint=hint)
    if content.startswith(b"4649"):
        return RpkError("the file is an fpk: an rpk has the bytes of every word the other way round")
    return RpkError(f"the file begins with {content[:4]!r}; an rpk begins with {_MAGIC.decode()}")
