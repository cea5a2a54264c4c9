"""References inside a step's spec, as `${steps.train.model}`: found, checked for their form, and replaced. Pure."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Where in a document: keys and indexes from the top."""

RULE: Final = (
    "`${parameters.NAME}`, `${steps.STEP.model}`, `${steps.STEP.job}` or `${steps.STEP.result.FIGURE}`; `$${` for a plain `${`"
)
_MARK: Final = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}]*)\}|(?P<open>\$\{)")
_PARAMETER: Final = re.compile(r"parameters\.(?P<name>[a-z][a-z0-9_]*)(?:\.(?P<path>[^\s]+))?")
_STEP: Final = re.compile(r"steps\.(?P<step>[a-z][a-z0-9_-]*)\.(?:(?P<what>model|job)|result\.(?P<path>[^\s]+))")


@dataclass(frozen=True, slots=True)
class Parameter:
    """The value of a parameter, or what ``path`` leads to inside it."""

    name: str
    path: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in ("parameters", self.name, self.path) if part)


@dataclass(frozen=True, slots=True)
class StepValue:
    """What a step made: the model it registered, its job's id, or a figure of its job's result."""

    step: str
    what: Literal["model", "job", "result"]
    path: str = ""

    def __str__(self) -> str:
        return ".".join(part for part in ("steps", self.step, self.what, self.path) if part)


Reference: TypeAlias = Parameter | StepValue


class BadReference(ValueError):
    """A text that looks like a reference and is none; ``path`` says where it stands."""

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


@dataclass(frozen=True, slots=True)
class Found:
    """A reference and the place of the text that holds it."""

    path: Path
    reference: Reference


def parse(inside: str) -> Reference:
    """The reference between the braces. BadReference."""
    if match := _PARAMETER.fullmatch(inside):
        return Parameter(match["name"], match["path"] or "")
    if match := _STEP.fullmatch(inside):
        what: Any = match["what"] or "result"
        return StepValue(match["step"], what, match["path"] or "")
    raise BadReference(f"${{{inside}}} is no reference")


def pieces(text: str) -> list[str | Reference]:
    """``text`` cut into plain parts and references, the former unescaped. BadReference."""
    found: list[str | Reference] = []
    end = 0
    for match in _MARK.finditer(text):
        found.append(text[end : match.start()])
        end = match.end()
        if match["open"]:
            raise BadReference(f"a reference that begins in {text[match.start() :][:40]!r} has no end")
        found.append("${" if match["inside"] is None else parse(match["inside"]))
    return [piece for piece in [*found, text[end:]] if piece != ""]


def walk(document: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text of a document that may hold references, with its place."""
    if isinstance(document, str):
        if "${" in document:
            yield path, document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from walk(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from walk(value, (*path, index))


def references_in(text: str, path: Path) -> list[Found]:
    """The references of one text of a document. BadReference with the place."""
    try:
        return [Found(path, piece) for piece in pieces(text) if not isinstance(piece, str)]
    except BadReference as exc:
        raise BadReference(str(exc), path) from exc


def find(document: Any) -> list[Found]:
    """All references of a document. BadReference for the first text that is none."""
    return [found for path, text in walk(document) for found in references_in(text, path)]


def replace(document: Any, value_of: Callable[[Reference], Any]) -> Any:
    """A copy of ``document`` with values for references. Values are not looked into: what they hold is plain."""
    if isinstance(document, str):
        return _replaced(document, value_of) if "${" in document else document
    if isinstance(document, dict):
        return {key: replace(value, value_of) for key, value in document.items()}
    if isinstance(document, list):
        return [replace(value, value_of) for value in document]
    return document


def _replaced(text: str, value_of: Callable[[Reference], Any]) -> Any:
    parts = pieces(text)
    if len(parts) == 1 and not isinstance(parts[0], str):
        return value_of(parts[0])
    return "".join(part if isinstance(part, str) else _written(value_of(part)) for part in parts)


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def dig(value: Any, path: str) -> Any:
    """What ``path`` leads to inside a document, as ``models.0.miou_96``. A key may hold dots itself. KeyError."""
    return _dig(value, path.split(".")) if path else value


def _dig(value: Any, parts: Sequence[str]) -> Any:
    if not parts:
        return value
    if isinstance(value, list) and parts[0].isascii() and parts[0].isdigit() and int(parts[0]) < len(value):
        return _dig(value[int(parts[0])], parts[1:])
    for taken in range(1, len(parts) + 1) if isinstance(value, dict) else ():
        key = ".".join(parts[:taken])
        if key in value:
            try:
                return _dig(value[key], parts[taken:])
            except KeyError:
                continue
    raise KeyError(".".join(parts))
