"""Takes an artifact's upload, a form with one file, into the blob store: never in memory as a whole, hashed on the way."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from services.fleet.hawkbit.errors import ChecksumDiffers
from services.fleet.hawkbit.messages import Title
from shared.kit.blobs import CHUNK, BlobStore, Incoming
from shared.kit.problems import BadRequest

FILE_PART: Final = "file"
_MOST_HEADER_BYTES: Final = 4096
_FILENAME: Final[TypeAdapter[str]] = TypeAdapter(Title)


class BadUpload(BadRequest):
    """The form is damaged, or is not one file."""

    title = "Upload is not a form with one file"
    hint = "send multipart/form-data with the part `file`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What the bytes are, or are to be; as hex in lower case."""

    sha256: str | None
    sha1: str | None
    md5: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """A file whose bytes are stored."""

    filename: str
    size_bytes: int
    sha256: str
    sha1: str
    md5: str

    def columns(self) -> dict[str, Any]:
        """For the table of artifacts."""
        return {name: getattr(self, name) for name in self.__slots__}


async def receive(
    store: BlobStore, content_type: str, chunks: AsyncIterator[bytes], *, filename: str | None, expected: Sums, max_bytes: int
) -> Uploaded:
    """Store the file of the form. ``filename`` overrides the form's.

    BadUpload, ChecksumDiffers, BlobTooLarge; nothing is kept then, nor when the client leaves.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise BadUpload(f"The content type {content_type[:100]!r} is no form.")
    incoming = await run_in_threadpool(store.begin, max_bytes=max_bytes)
    with incoming:
        form = _FileForm(incoming)
        await _read(form, boundary, chunks)
        uploaded = form.finish(filename)
        _compare(uploaded, expected)
        await run_in_threadpool(incoming.commit, f"sha256:{uploaded.sha256}")
    return uploaded


async def _read(form: "_FileForm", boundary: bytes, chunks: AsyncIterator[bytes]) -> None:
    parser = MultipartParser(boundary, form.callbacks())
    waiting = bytearray()
    try:
        async for chunk in chunks:
            waiting += chunk
            if len(waiting) >= CHUNK:
                await run_in_threadpool(parser.write, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(parser.write, bytes(waiting))
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as exc:
        raise BadUpload(f"The form is damaged: {exc}"[:300]) from exc


def _compare(uploaded: Uploaded, expected: Sums) -> None:
    for name in ("sha256", "sha1", "md5"):
        wanted, found = getattr(expected, name), getattr(uploaded, name)
        if wanted is not None and wanted.lower() != found:
            raise ChecksumDiffers(f"The {name} is {found}, announced was {wanted}.", expected=wanted, actual=found)


class _FileForm:
    """Passes the bytes of the form's one file on while the form is parsed."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._sha256, self._sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size, self._parts = 0, 0
        self._header, self._value = b"", b""
        self._disposition: dict[bytes, bytes] = {}
        self._ended = False

    def callbacks(self) -> Any:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_part,
            "on_part_data": self._add_data,
            "on_end": self._end,
        }

    def finish(self, filename: str | None) -> Uploaded:
        """What was there. BadUpload if it was not one file under a name that one can have."""
        if not self._ended or self._parts != 1:
            raise BadUpload("The form ends before its last boundary, or has no file.")
        name = filename or self._disposition.get(b"filename", b"").decode("utf-8", "replace")
        try:
            name = _FILENAME.validate_python(name)
        except ValidationError as exc:
            raise BadUpload(f"The file name {name[:80]!r} is refused: {exc.errors()[0]['msg']}.") from exc
        if "/" in name or "\\" in name or name in {".", ".."}:
            raise BadUpload(f"The file name {name[:80]!r} is a path.")
        return Uploaded(
            filename=name,
            size_bytes=self._size,
            sha256=self._sha256.hexdigest(),
            sha1=self._sha1.hexdigest(),
            md5=self._md5.hexdigest(),
        )

    def _begin(self) -> None:
        self._parts += 1
        self._header = self._value = b""

    def _add_header(self, content: bytes, start: int, end: int) -> None:
        self._header += content[start:end]
        self._check_header()

    def _add_value(self, content: bytes, start: int, end: int) -> None:
        self._value += content[start:end]
        self._check_header()

    def _check_header(self) -> None:
        if len(self._header) + len(self._value) > _MOST_HEADER_BYTES:
            raise BadUpload("A header in the form is too long.")

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = parse_options_header(self._value)[1]
        self._header = self._value = b""

    def _check_part(self) -> None:
        name = self._disposition.get(b"name", b"")
        if self._parts != 1 or name != FILE_PART.encode():
            raise BadUpload(f"The form has the part {name[:80].decode('utf-8', 'replace')!r}; it may have one named file.")

    def _add_data(self, content: bytes, start: int, end: int) -> None:
        piece = content[start:end]
        self._incoming.write(piece)
        for sum_ in (self._sha256, self._sha1, self._md5):
            sum_.update(piece)
        self._size += len(piece)

    def _end(self) -> None:
        self._ended = True
