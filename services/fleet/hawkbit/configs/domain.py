"""hawkBit's tenant settings: which there are here, and what they may be. Pure."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final


class Key(StrEnum):
    """Settings that hawkBit's clients know."""

    TARGET_TOKENS = "authentication.targettoken.enabled"
    GATEWAY_TOKENS = "authentication.gatewaytoken.enabled"
    GATEWAY_TOKEN = "authentication.gatewaytoken.key"
    POLLING_TIME = "pollingTime"
    OVERDUE_TIME = "pollingOverdueTime"
    ANONYMOUS_DOWNLOAD = "anonymous.download.enabled"


FIXED: Final[dict[Key, bool]] = {Key.TARGET_TOKENS: True, Key.ANONYMOUS_DOWNLOAD: False}
"""These are so and cannot be changed: a device is known by its token, also when it downloads."""

Value = bool | str

_TIME: Final = re.compile(r"([0-9]{2}):([0-5][0-9]):([0-5][0-9])")
_TOKEN: Final = re.compile(r"[!-~]{16,256}")
_SHORTEST: Final = timedelta(seconds=5)


class BadValue(ValueError):
    """The setting cannot have this value; the message says what it can have."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A setting and a value that it can have."""

    key: Key
    value: Value


def checked(key: Key, value: object) -> Checked:
    """BadValue unless the setting can be set to ``value``."""
    if key in FIXED:
        if value is not FIXED[key]:
            raise BadValue(f"{key} is {str(FIXED[key]).lower()} here and cannot be changed")
        return Checked(key, FIXED[key])
    if key is Key.GATEWAY_TOKENS:
        if not isinstance(value, bool):
            raise BadValue("true or false")
        return Checked(key, value)
    if not isinstance(value, str):
        raise BadValue("a text")
    if key is Key.GATEWAY_TOKEN:
        if not _TOKEN.fullmatch(value):
            raise BadValue("16 to 256 characters of ASCII without blanks, not to be guessed")
    elif duration(value) < _SHORTEST:
        raise BadValue("a time as HH:MM:SS, five seconds or more")
    return Checked(key, value)


def duration(text: str) -> timedelta:
    """Of HH:MM:SS; zero for what is none."""
    found = _TIME.fullmatch(text)
    hours, minutes, seconds = map(int, found.groups()) if found else (0, 0, 0)
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def written(time: timedelta) -> str:
    """As HH:MM:SS, at most 99:59:59."""
    seconds = min(int(time.total_seconds()), 99 * 3600 + 59 * 60 + 59)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
