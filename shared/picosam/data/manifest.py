"""The canonical manifest of a dataset: gzipped JSON lines, a header and then one line per image.

It names images by digest and holds every mask as compressed COCO RLE, so that it alone says what a dataset is. Written and
read as a stream: a line in memory at a time. Keys are sorted and floats written shortest, so the same dataset has the same
bytes everywhere.
"""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from shared.picosam.data.errors import ManifestInvalid

VERSION: Final = 1

Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Identifiers of images, instances and categories: whole numbers that fit into int64."""


class Rle(msgspec.Struct, frozen=True, kw_only=True):
    """A mask as COCO writes it: runs down the columns, compressed to text. ``size`` is (height, width)."""

    size: tuple[int, int]
    counts: str


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One object. ``bbox`` is x, y, width, height in image pixels, inside the image; ``area`` is in pixels."""

    id: Id
    category: Id
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: bool
    rle: Rle


class ImageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One image with its instances in annotation order. ``file`` is relative to the dataset's root, with forward slashes.

    LVIS says of each image which categories were looked for and not found, and which were not annotated to the end.
    """

    split: str
    file: str
    sha256: str
    width: int
    height: int
    image_id: Id
    instances: tuple[Instance, ...]
    negative_categories: tuple[int, ...] = ()
    unfinished_categories: tuple[int, ...] = ()

    def prompts(self) -> tuple[Instance, ...]:
        """The instances that are prompts: all but crowds."""
        return tuple(instance for instance in self.instances if not instance.iscrowd)


Frequency: TypeAlias = Literal["r", "c", "f"]
"""How many of LVIS's training images show a category: rare up to 10, common up to 100, frequent beyond."""


class Category(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A kind of object. Only LVIS says how frequent it is; elsewhere the field is not written at all."""

    id: Id
    name: str
    frequency: Frequency | None = None


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line. ``categories`` are in the order of their ids."""

    version: int = VERSION
    name: str
    splits: tuple[str, ...]
    categories: tuple[Category, ...]


_encoder = msgspec.json.Encoder(order="sorted")
_header_decoder = msgspec.json.Decoder(Header)
_row_decoder = msgspec.json.Decoder(ImageRow)


def encode_row(row: ImageRow) -> bytes:
    """The canonical bytes of a line, without its newline."""
    return _encoder.encode(row)


def decode_row(line: bytes) -> ImageRow:
    """The inverse of ``encode_row``; ``ManifestInvalid`` for anything else."""
    try:
        return _row_decoder.decode(line)
    except msgspec.DecodeError as exc:
        raise ManifestInvalid(f"a manifest line is not an image row: {exc}") from exc


class ManifestWriter:
    """Writes a manifest line by line; ``digest`` is the dataset's once all rows are in.

    The digest is over the uncompressed lines, with an empty name in the header: two datasets of the same contents have the
    same digest whatever they are called, and share their prepared shards.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self._raw = path.open("wb")
        # No name and no time inside, so that the file's own bytes are a function of the rows too.
        self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=5, fileobj=self._raw, mtime=0)
        self._file.write(_encoder.encode(header) + b"\n")
        self._sha256 = hashlib.sha256(_encoder.encode(msgspec.structs.replace(header, name="")) + b"\n")

    def add(self, row: ImageRow) -> None:
        """Appends an image."""
        line = encode_row(row) + b"\n"
        self._file.write(line)
        self._sha256.update(line)

    @property
    def digest(self) -> str:
        """``sha256:...`` of what was written so far."""
        return f"sha256:{self._sha256.hexdigest()}"

    def __enter__(self) -> "ManifestWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        self._raw.close()


def read_header(path: Path) -> Header:
    """The header alone."""
    with gzip.open(path, "rb") as file:
        return _decode_header(_line(file, path), path)


def read_lines(path: Path) -> Iterator[bytes]:
    """The image lines as they are written, to be decoded elsewhere with ``decode_row``."""
    with gzip.open(path, "rb") as file:
        _decode_header(_line(file, path), path)
        while line := _line(file, path):
            yield line


def read_rows(path: Path, split: str | None = None) -> Iterator[ImageRow]:
    """The images of ``split``, or of all splits, in order."""
    rows = (decode_row(line) for line in read_lines(path))
    return rows if split is None else (row for row in rows if row.split == split)


def manifest_digest(path: Path) -> str:
    """The dataset's digest, computed anew from the file; ``ManifestInvalid`` if it is damaged."""
    header = msgspec.structs.replace(read_header(path), name="")
    sha256 = hashlib.sha256(_encoder.encode(header) + b"\n")
    for line in read_lines(path):
        sha256.update(line)
    return f"sha256:{sha256.hexdigest()}"


def _line(file: gzip.GzipFile, path: Path) -> bytes:
    try:
        line = file.readline()
    except (EOFError, zlib.error, gzip.BadGzipFile) as exc:
        raise ManifestInvalid(f"{path.name} is damaged: {exc}") from exc
    if line and not line.endswith(b"\n"):
        raise ManifestInvalid(f"{path.name} is cut off in the middle of a line")
    return line


def _decode_header(line: bytes, path: Path) -> Header:
    try:
        header = _header_decoder.decode(line)
    except msgspec.DecodeError as exc:
        raise ManifestInvalid(f"{path.name} has no manifest header: {exc}") from exc
    if header.version != VERSION:
        raise ManifestInvalid(f"{path.name} is a manifest of version {header.version}; this code reads version {VERSION}")
    return header
