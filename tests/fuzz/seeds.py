"""What fuzzing begins with: small files of each kind that are right, and changes that know where the numbers stand."""

import gzip
import io
import random
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from shared.contracts.packages import TrustedKey
from shared.kit.packages.folder import write_package
from shared.kit.packages.keys import generate
from shared.kit.packages.signing import sign_package
from shared.kit.packages.tars import pack
from tests.shared.kit.packages.making import a_converted_zip, parameters, some_contents, some_facts
from tests.shared.kit.rpk.making import a_cpio, an_info, an_rpk, some_blocks, some_files

INTERESTING = [0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def rpk_seeds() -> list[bytes]:
    return [
        an_rpk(),
        some_blocks(bytes(5000), coded=True) + a_cpio(some_files()),
        an_rpk(**{"network_info.txt": an_info(networks=3, inputTensorFormat="BGR")}),
        an_rpk(**{"network_info.txt": an_info(inputTensorFormat="Y")}),
    ]


def package_seeds() -> tuple[list[bytes], TrustedKey]:
    """Signed packages as tars, and the key that they are signed with."""
    folder = Path(tempfile.mkdtemp(prefix="picofleet-fuzz-"))
    try:
        key = generate(folder / "key.pem")
        write_package(folder / "package", some_facts(), some_contents() | {"network.rpk": an_rpk()})
        sign_package(folder / "package", folder / "key.pem")
        pack(folder / "package", folder / "package.tar")
        whole = (folder / "package.tar").read_bytes()
    finally:
        shutil.rmtree(folder)
    return [whole, gzip.compress(whole, mtime=0)], key


def zip_seeds() -> list[bytes]:
    return [a_converted_zip(), a_converted_zip(**{"dnnParams.xml": parameters("0.03125", "signed")})]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """``content`` with a few changes: bytes, words, text numbers, cuts, doublings; what is packed by gzip is changed within."""
    if content[:2] == b"\x1f\x8b" and chance.random() < 0.5:
        try:
            plain = gzip.GzipFile(fileobj=io.BytesIO(content)).read(4 * 1024**2)
        except (OSError, EOFError, zlib.error):
            plain = content
        return gzip.compress(mutated(plain, chance), 1, mtime=0)
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        if changed:
            chance.choice(_CHANGES)(changed, chance)
    return bytes(changed[: 4 * 1024**2])


def _byte(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] = chance.randrange(256)


def _bit(content: bytearray, chance: random.Random) -> None:
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _word(content: bytearray, chance: random.Random) -> None:
    place, size = chance.randrange(len(content)), chance.choice([1, 2, 4, 8])
    value = chance.choice(INTERESTING) & ((1 << 8 * size) - 1)
    content[place : place + size] = value.to_bytes(size, chance.choice(["big", "little"]))


def _text_number(content: bytearray, chance: random.Random) -> None:
    """Numbers in tar headers, newc headers, JSON and network_info.txt are text."""
    digits = [place for place in range(len(content)) if 48 <= content[place] <= 57]
    if digits:
        place = chance.choice(digits)
        text = chance.choice([b"0", b"9" * 11, b"7777777777", b"FFFFFFFF", b"-1", b"1e999", b"0x"])
        content[place : place + len(text) * chance.randrange(2)] = text


def _cut(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    del content[start : start + chance.choice([1, 4, 512, len(content)])]


def _double(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    part = content[start : start + chance.choice([1, 16, 512, 4096])]
    content[start:start] = part * chance.choice([1, 2, 64])


def _nest(content: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(content))
    content[start:start] = chance.choice([b"[", b'{"a":', b"<a>", b"../"]) * chance.choice([10, 1000, 20_000])


_CHANGES: list[Callable[[bytearray, random.Random], None]] = [_byte, _bit, _word, _text_number, _cut, _double, _nest]
