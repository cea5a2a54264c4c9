"""The part of hawkBit's query language that is read here: `controllerId==x`, `id==x`, `name==x`, with `*` in x. Pure."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

_TERM: Final = re.compile(r"(controllerid|id|name)==([^;,()]{1,200})", re.IGNORECASE)


class Field(StrEnum):
    """What can be asked for."""

    CONTROLLER_ID = "controllerid"
    NAME = "name"


class NotRead(ValueError):
    """The query is more than is read here."""


@dataclass(frozen=True, slots=True)
class Query:
    """All targets whose field is like ``pattern``, in which % stands for anything and a backslash takes its meaning away."""

    field: Field
    pattern: str


def parse(text: str) -> Query:
    """NotRead unless it is one comparison of a target's id or name."""
    found = _TERM.fullmatch(text.strip())
    if found is None:
        raise NotRead(f"{text[:80]!r} is not read here; controllerId==x, id==x and name==x are, with * in x")
    value = found[2].strip("\"'")
    escaped = re.sub(r"([\\%_])", r"\\\1", value).replace("*", "%")
    return Query(Field.NAME if found[1].lower() == "name" else Field.CONTROLLER_ID, escaped)
