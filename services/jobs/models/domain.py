"""Rules of models that need neither database nor registry."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final, Self

ALIAS_RULE: Final = (
    "a lower case letter, then lower case letters, digits, underscores, hyphens; up to 63; not `latest`, not as `v1`"
)
_ALIAS: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RESERVED: Final = re.compile(r"latest|v\d+")

REFERENCE_RULE: Final = "name/version, as picosam2/3, or name@alias, as picosam2@champion"
_REFERENCE: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9._-]{0,62})(?:/(?P<version>[1-9][0-9]{0,8})|@(?P<alias>[a-z][a-z0-9_-]{0,62}))"
)


def is_alias(text: str) -> bool:
    """True for a name that an alias may have. MLflow keeps `latest` and `v<number>` for itself."""
    return _ALIAS.fullmatch(text) is not None and _RESERVED.fullmatch(text) is None


@dataclass(frozen=True, slots=True)
class Reference:
    """A version as a person names it: by number, or by alias."""

    name: str
    version: int | None
    alias: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """ValueError if ``text`` is no reference."""
        match = _REFERENCE.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} names no model version")
        version = match["version"]
        return cls(match["name"], int(version) if version else None, match["alias"])


class Kind(StrEnum):
    """What sort of version a job can use. A package has no network that any job could begin with."""

    NETWORK = "network"
    """Whatever runs: float or quantized."""
    FLOAT = "float"
    """With float weights, which a quantized version does not have."""
    SENSOR = "sensor"
    """Quantized for the IMX500: with the file that the converter takes."""


def retry_after(attempts: int) -> timedelta:
    """How long to wait after ``attempts`` attempts without an answer: 1, 2, 4 ... 60 s."""
    return timedelta(seconds=min(2 ** min(max(attempts - 1, 0), 10), 60))
