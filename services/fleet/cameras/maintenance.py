"""When cameras may be changed. Pure: no clock, no database, no HTTP.

A window begins on its days at a wall time of the zone and lasts so many minutes as a watch counts them, whatever the clocks are
put forward or back meanwhile. A wall time that a day skips is read an hour later, one that it has twice is the first.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from shared.contracts.cameras import MaintenanceWindow, Weekday

_DAYS: Final = tuple(Weekday)
_BACK: Final = 2
"""Days: a window of 24 hours that begins late before a short day of 23 reaches into the second day after."""


def is_open(windows: Sequence[MaintenanceWindow], zone: ZoneInfo, now: datetime) -> bool:
    """Whether ``now`` lies in a window; always, where there are none."""
    if not windows:
        return True
    today = now.astimezone(zone).date()
    spans = _spans(windows, zone, today - timedelta(days=_BACK), days=_BACK + 2)
    return any(begin <= now < end for begin, end in spans)


def next_opening(windows: Sequence[MaintenanceWindow], zone: ZoneInfo, now: datetime) -> datetime:
    """The first instant from ``now`` on that lies in a window, in UTC."""
    if is_open(windows, zone, now):
        return now.astimezone(UTC)
    today = now.astimezone(zone).date()
    # Every weekday comes within the next eight days; one more for what the zone's offset moves.
    return min(begin for begin, _ in _spans(windows, zone, today - timedelta(days=1), days=10) if begin > now)


def _spans(
    windows: Sequence[MaintenanceWindow], zone: ZoneInfo, first: date, *, days: int
) -> Iterator[tuple[datetime, datetime]]:
    for day in (first + timedelta(days=number) for number in range(days)):
        for window in windows:
            if _DAYS[day.weekday()] in window.days:
                begin = datetime.combine(day, window.start, tzinfo=zone).astimezone(UTC)
                yield begin, begin + timedelta(minutes=window.minutes)
