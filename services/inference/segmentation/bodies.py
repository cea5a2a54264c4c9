"""Request bodies: JSON with the image in base64, or a form with the image beside the JSON."""

import binascii
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from services.inference.segmentation.errors import BadForm, UnsupportedBody
from shared.kit.limits import check_json
from shared.kit.problems import InvalidRequest


class WithImage(Protocol):
    """A message whose image may be in it, in base64, or beside it in a form."""

    @property
    def image(self) -> str | None:
        """Base64."""
        ...

    @classmethod
    def model_validate_json(cls, json_data: bytes, /) -> Self:
        """pydantic's."""
        ...


W = TypeVar("W", bound=WithImage)


@dataclass(frozen=True, slots=True)
class Asked(Generic[W]):
    """A request that is well formed. Its image is still encoded, in base64 too if it is a text."""

    wanted: W
    image: bytes | str

    def content(self) -> bytes:
        """The image file."""
        if isinstance(self.image, bytes):
            return self.image
        try:
            return b64decode(self.image, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise InvalidRequest.of_field("body.image", f"not base64: {exc}") from exc


def read_body(content_type: str, body: bytes, contract: type[W]) -> Asked[W]:
    """UnsupportedBody, BadForm, InvalidRequest, InvalidJson."""
    kind, options = parse_options_header(content_type)
    if kind == b"application/json":
        return _read_json(body, contract)
    if kind == b"multipart/form-data":
        return _read_form(body, options.get(b"boundary", b""), contract)
    raise UnsupportedBody(f"The content type {content_type[:100]!r} is not read here.")


def _read_json(body: bytes, contract: type[W]) -> Asked[W]:
    wanted = _validated(body, contract)
    if wanted.image is None:
        raise InvalidRequest.of_field("body.image", "a JSON body needs the image", "base64 of a JPEG, PNG or WebP file")
    return Asked(wanted, wanted.image)


def _read_form(body: bytes, boundary: bytes, contract: type[W]) -> Asked[W]:
    parts = _parts(body, boundary)
    missing = [name for name in ("image", "request") if name not in parts]
    if missing or len(parts) > 2:
        raise BadForm(f"The form has the parts {sorted(parts)}; it needs image and request, and nothing else.")
    check_json(parts["request"])  # a JSON body was checked before it came here
    wanted = _validated(parts["request"], contract)
    if wanted.image is not None:
        raise InvalidRequest.of_field("body.image", "the form has a part for the image already")
    return Asked(wanted, parts["image"])


def _validated(text: bytes, contract: type[W]) -> W:
    try:
        return contract.model_validate_json(text)
    except ValidationError as exc:
        raise RequestValidationError([{**error, "loc": ("body", *error["loc"])} for error in exc.errors()]) from exc


def _parts(body: bytes, boundary: bytes) -> dict[str, bytes]:
    form = _Form()
    try:
        parser = MultipartParser(boundary, form.callbacks())
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeDecodeError) as exc:
        raise BadForm(f"The form is damaged: {exc}"[:300]) from exc
    if not form.ended:
        raise BadForm("The form ends before its last boundary.")
    return form.parts


class _Form:
    """Collects a form's parts by name while it is parsed."""

    def __init__(self) -> None:
        self.parts: dict[str, bytes] = {}
        self.ended = False
        self._header, self._value, self._name = b"", b"", ""
        self._pieces: list[bytes] = []

    def callbacks(self) -> Any:
        """For the parser."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
            "on_end": self._finish,
        }

    def _begin(self) -> None:
        self._pieces, self._name = [], ""

    def _add_header(self, content: bytes, start: int, end: int) -> None:
        self._header += content[start:end]

    def _add_value(self, content: bytes, start: int, end: int) -> None:
        self._value += content[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._name = parse_options_header(self._value)[1].get(b"name", b"").decode()
        self._header = self._value = b""

    def _add_data(self, content: bytes, start: int, end: int) -> None:
        self._pieces.append(content[start:end])

    def _end(self) -> None:
        if not self._name or self._name in self.parts:
            raise BadForm(f"A part of the form has no name, or one that is there already: {self._name[:100]!r}.")
        self.parts[self._name] = b"".join(self._pieces)

    def _finish(self) -> None:
        self.ended = True
