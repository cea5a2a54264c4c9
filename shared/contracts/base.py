"""The two manners of reading a message, identifiers and digests."""

import hashlib
import math
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import uuid_utils
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints


class Strict(BaseModel):
    """What a user sends: an unknown field is a mistake worth naming, so it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Lenient(BaseModel):
    """What workers, devices and services send each other: a newer sender must not break an older reader."""

    model_config = ConfigDict(extra="ignore", frozen=True, from_attributes=True)


def new_id() -> str:
    """A UUIDv7 in canonical text: sorts by creation time, in SQLite and Postgres alike."""
    return str(uuid_utils.uuid7())


def is_id(text: str) -> bool:
    """True for a UUID in canonical lower-case text."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


DIGEST_PATTERN: Final = r"^sha256:[0-9a-f]{64}$"
NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]{0,62}$"

Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]
"""Names a blob by its content, as in ``sha256:9f86...``."""

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A name a person gives: lower case letters, digits, dot, underscore, hyphen; 1 to 63 characters."""


def _finite(figures: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _without_nul(text: str) -> str:
    return text.replace("\0", "\ufffd")


Figures = Annotated[dict[str, float], AfterValidator(_finite)]
"""Figures by name. One that is no number is left out: JSON has no NaN, and a message must not be refused for it."""

Text = Annotated[str, AfterValidator(_without_nul)]
"""What a program printed. Postgres stores no NUL, and a message must not be refused for it."""

TagKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
TagValue = Annotated[str, StringConstraints(max_length=256)]
Tags = Annotated[dict[TagKey, TagValue], Field(max_length=32)]


def _has_utc(moment: datetime) -> datetime:
    try:
        moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("lies outside of the years 1 to 9999 in UTC") from exc
    return moment


Timestamp = Annotated[AwareDatetime, AfterValidator(_has_utc)]


def digest_of(content: bytes) -> str:
    """The blob name of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digest_of_file(path: Path) -> str:
    """The blob name of a file's content, read piece by piece. OSError if it cannot be read."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def is_digest(text: str) -> bool:
    """True if ``text`` is a well-formed blob name."""
    return re.fullmatch(DIGEST_PATTERN, text) is not None
