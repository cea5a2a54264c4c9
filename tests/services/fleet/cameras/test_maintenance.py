"""When cameras may be changed."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.cameras.maintenance import is_open, next_opening
from shared.contracts.cameras import MaintenanceWindow, Weekday

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = st.sampled_from(
    [ZoneInfo(name) for name in ("UTC", "Europe/Berlin", "Pacific/Apia", "Asia/Kathmandu", "America/St_Johns")]
)
WINDOWS = st.lists(
    st.builds(
        MaintenanceWindow,
        days=st.lists(st.sampled_from(Weekday), min_size=1, max_size=7, unique=True),
        start=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
        minutes=st.integers(1, 24 * 60),
    ),
    max_size=3,
)
INSTANTS = st.datetimes(datetime(2011, 12, 1), datetime(2030, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))


def a_window(start: str, minutes: int, *days: str) -> MaintenanceWindow:
    return MaintenanceWindow(
        days=[Weekday(day) for day in days] or list(Weekday), start=time.fromisoformat(start), minutes=minutes
    )


def berlin(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


def test_without_windows_it_is_always_open() -> None:
    now = datetime.now(UTC)
    assert is_open([], BERLIN, now)
    assert next_opening([], BERLIN, now) == now


@pytest.mark.parametrize(
    ("at", "is_so"),
    [
        ("2026-03-02T21:59:59", False),
        ("2026-03-02T22:00:00", True),
        ("2026-03-03T01:59:59", True),
        ("2026-03-03T02:00:00", False),
        ("2026-03-03T22:00:00", False),
    ],
)
def test_a_window_may_run_over_midnight(at: str, is_so: bool) -> None:
    assert is_open([a_window("22:00", 240, "mon")], BERLIN, berlin(at)) is is_so


def test_windows_last_as_long_as_a_watch_says_when_clocks_change() -> None:
    window = [a_window("01:30", 60)]
    # 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
    assert is_open(window, BERLIN, berlin("2026-03-29T03:29:59"))
    assert not is_open(window, BERLIN, berlin("2026-03-29T03:30:00"))
    assert is_open(window, BERLIN, berlin("2026-10-25T02:29:59"))
    assert not is_open(window, BERLIN, berlin("2026-10-25T02:00:00", fold=1) + timedelta(minutes=30))


def test_a_time_that_a_day_skips_is_read_an_hour_later() -> None:
    window = [a_window("02:30", 10)]
    assert next_opening(window, BERLIN, berlin("2026-03-29T00:00:00")) == berlin("2026-03-29T03:30:00")


def test_a_whole_day_that_begins_before_a_short_one() -> None:
    window = [a_window("23:59", 24 * 60, "sat")]
    assert is_open(window, BERLIN, berlin("2026-03-30T00:58:59"))
    assert not is_open(window, BERLIN, berlin("2026-03-30T00:59:00"))


@given(WINDOWS, ZONES, INSTANTS)
def test_the_next_opening_is_open_and_nothing_before_it(
    windows: list[MaintenanceWindow], zone: ZoneInfo, now: datetime
) -> None:
    opening = next_opening(windows, zone, now)
    assert is_open(windows, zone, opening)
    assert now <= opening <= now + timedelta(days=9)
    assert (opening == now) == is_open(windows, zone, now)
    for share in range(1, 8):
        between = now + (opening - now) * share / 8
        assert between in {now, opening} or not is_open(windows, zone, between)


@given(WINDOWS.filter(bool), ZONES, INSTANTS)
def test_it_is_open_exactly_when_a_window_began_not_long_ago(
    windows: list[MaintenanceWindow], zone: ZoneInfo, now: datetime
) -> None:
    def began(window: MaintenanceWindow, day: date) -> bool:
        begin = datetime.combine(day, window.start, tzinfo=zone).astimezone(UTC)
        return list(Weekday)[day.weekday()] in window.days and timedelta(0) <= now - begin < timedelta(minutes=window.minutes)

    days = [now.date() + timedelta(days=number) for number in range(-5, 6)]
    assert is_open(windows, zone, now) is any(began(window, day) for window in windows for day in days)
