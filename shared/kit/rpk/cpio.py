"""The second part of a network.rpk: a cpio archive in the format newc, as the kernel's `buffer-format.rst` describes it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from shared.kit.rpk.errors import RpkError

MAX_ENTRIES: Final = 64
MAX_NAME_BYTES: Final = 256
_MAGIC: Final = b"070701"
_HEADER_BYTES: Final = 110
_FIELD_BYTES: Final = 8
_FIELDS: Final = ("ino", "mode", "uid", "gid", "nlink", "mtime", "size", "maj", "min", "rmaj", "rmin", "name_size", "check")
_SIZE, _NAME_SIZE = _FIELDS.index("size"), _FIELDS.index("name_size")
_TRAILER: Final = "TRAILER!!!"
_HEXADECIMAL: Final = frozenset(b"0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file. ``raw`` is all of it as it stands in the archive, with header and padding."""

    name: str
    content: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Archive:
    """Files in their order, and what follows the last of them: the trailer and padding, as they are."""

    entries: tuple[Entry, ...]
    rest: bytes

    def content(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none of this name."""
        return next((entry.content for entry in self.entries if entry.name == name), None)

    def to_bytes(self) -> bytes:
        """The archive."""
        return b"".join(entry.raw for entry in self.entries) + self.rest


def read_archive(content: bytes) -> Archive:
    """The archive in ``content``. RpkError."""
    entries: list[Entry] = []
    offset = 0
    for entry in _entries(content):
        if entry.name == _TRAILER:
            return Archive(tuple(entries), content[offset:])
        if len(entries) == MAX_ENTRIES:
            raise RpkError(f"the archive holds more than {MAX_ENTRIES} files")
        if any(entry.name == other.name for other in entries):
            raise RpkError(f"{entry.name!r} is in the archive twice")
        entries.append(entry)
        offset += len(entry.raw)
    raise RpkError("the archive is cut off: it has no trailer", hint="Copy the file again.")


def with_file(archive: Archive, name: str, content: bytes) -> Archive:
    """The archive with ``content`` under ``name``, in its old place or as the last one; all else is as it was."""
    changed = [_changed(entry, content) if entry.name == name else entry for entry in archive.entries]
    if all(entry.name != name for entry in archive.entries):
        changed.append(_added(len(changed) + 1, name, content))
    return replace(archive, entries=tuple(changed))


def without_file(archive: Archive, name: str) -> Archive:
    """The archive without ``name``; all else is as it was."""
    return replace(archive, entries=tuple(entry for entry in archive.entries if entry.name != name))


def _entries(content: bytes) -> Iterator[Entry]:
    offset = 0
    while offset < len(content):
        fields = _fields(content[offset : offset + _HEADER_BYTES])
        name_end = offset + _HEADER_BYTES + fields[_NAME_SIZE]
        start = _aligned(name_end)
        end = start + fields[_SIZE]
        if end > len(content):
            raise RpkError("the archive is cut off in a file", hint="Copy the file again.")
        name = _name(content[offset + _HEADER_BYTES : name_end])
        following = min(_aligned(end), len(content))
        yield Entry(name, content[start:end], content[offset:following])
        offset = following


def _fields(header: bytes) -> list[int]:
    if not header.startswith(_MAGIC) or len(header) < _HEADER_BYTES:
        raise RpkError(f"there is no file of a newc archive where one should begin: {header[:6]!r}")
    if not _HEXADECIMAL.issuperset(header):
        raise RpkError("the header of a file in the archive is not hexadecimal")
    starts = range(len(_MAGIC), _HEADER_BYTES, _FIELD_BYTES)
    return [int(header[start : start + _FIELD_BYTES], 16) for start in starts]


def _name(raw: bytes) -> str:
    name = raw[:-1]
    if not 1 < len(raw) <= MAX_NAME_BYTES or raw[-1:] != b"\0" or not name.isascii() or not name.decode().isprintable():
        raise RpkError(f"a file in the archive has the name {raw[:40]!r}")
    return name.decode("ascii")


def _changed(entry: Entry, content: bytes) -> Entry:
    """The entry with other content: of its header, the eight digits of the size change."""
    start = len(_MAGIC) + _FIELD_BYTES * _SIZE
    head = entry.raw[: _aligned(_HEADER_BYTES + len(entry.name) + 1)]
    head = head[:start] + b"%08X" % len(content) + head[start + _FIELD_BYTES :]
    return Entry(entry.name, content, _padded(head + content))


def _added(number: int, name: str, content: bytes) -> Entry:
    values = dict.fromkeys(_FIELDS, 0) | {"ino": number, "mode": 0o100644, "nlink": 1, "name_size": len(name) + 1}
    head = _MAGIC + b"".join(b"%08X" % value for value in values.values()) + name.encode("ascii") + b"\0"
    return _changed(Entry(name, b"", _padded(head)), content)


def _padded(content: bytes) -> bytes:
    return content.ljust(_aligned(len(content)), b"\0")


def _aligned(offset: int) -> int:
    return (offset + 3) & ~3
