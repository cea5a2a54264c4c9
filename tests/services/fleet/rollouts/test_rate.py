"""How many cameras may be let in."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.fleet.rollouts.rate import CAMERA, KEPT, begun, earned
from shared.contracts.rollouts import RateLimit

START = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(number):
    return START + timedelta(seconds=number)


def run(limit, ticks, *, succeed=False):
    """Lets in all that it may at each tick; how many at each."""
    allowance, let = begun(limit), []
    for at in ticks:
        allowance = earned(limit, allowance, now=seconds(at), succeeded=sum(let) if succeed else 0)
        let.append(allowance.cameras)
        allowance = allowance.spent(allowance.cameras)
    return let


def test_sixty_per_minute_is_one_in_each_second():
    assert run(RateLimit(per_minute=60), range(10)) == [1] * 10


def test_less_than_one_per_tick_is_saved_up():
    assert run(RateLimit(per_minute=6), range(21)) == [1, *[0] * 9, 1, *[0] * 9, 1]


def test_nothing_bursts_after_a_gap():
    first, after = run(RateLimit(per_minute=600), [0, 3600])
    assert (first, after) == (10, 100)


def test_a_pause_leaves_nothing_over():
    limit = RateLimit(per_minute=600)
    allowance = earned(limit, begun(limit), now=START, succeeded=0)
    resumed = earned(limit, earned(limit, allowance, now=seconds(10), succeeded=0).paused(), now=seconds(5000), succeeded=0)
    assert resumed.cameras == 10


def test_the_rate_grows_with_success_up_to_its_limit():
    limit = RateLimit(per_minute=60, growth=2, max_per_minute=200)
    allowance = begun(limit)
    rates = []
    for succeeded in (0, 59, 60, 179, 180, 500, 5000):
        allowance = earned(limit, allowance, now=START, succeeded=succeeded)
        rates.append(allowance.rate)
    assert rates == [60, 60, 120, 120, 200, 200, 200]


def test_it_grows_even_where_growth_is_lost_in_rounding():
    limit = RateLimit(per_minute=1, growth=1.01)
    assert earned(limit, begun(limit), now=START, succeeded=1).rate == 2


@given(
    per_minute=st.integers(1, 100_000),
    gaps=st.lists(st.floats(-5, 300, allow_nan=False), min_size=1, max_size=50),
)
def test_no_minute_sees_more_than_the_rate_and_what_was_kept(per_minute, gaps):
    """Also where the clock goes back."""
    at, ticks = 0.0, []
    for gap in gaps:
        at += gap
        ticks.append(at)
    let = run(RateLimit(per_minute=per_minute), ticks)
    newest, counted = 0.0, []
    for moment, count in zip(ticks, let, strict=True):
        newest = max(newest, moment)
        counted.append((newest, count))
    for begin, _ in counted:
        within = sum(count for moment, count in counted if begin <= moment <= begin + 60)
        assert within * CAMERA <= per_minute * 1_000_000 * (60 + KEPT.total_seconds()) + 2 * CAMERA
