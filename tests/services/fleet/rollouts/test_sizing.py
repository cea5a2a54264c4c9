"""Phases' sizes and cameras' places."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.rollouts.sizing import RANKS, bounds, joining, phase_at, rank_of, sizes
from shared.contracts.base import new_id
from shared.contracts.rollouts import PhaseIn

percents = st.lists(st.floats(0.001, 100), min_size=1, max_size=6, unique=True).map(sorted)
counts = st.lists(st.integers(1, 500), min_size=1, max_size=6, unique=True).map(sorted)


def by_percent(*values):
    return [PhaseIn(percent=value) for value in values]


def by_count(*values):
    return [PhaseIn(count=value) for value in values]


@pytest.mark.parametrize(
    ("phases", "cameras", "expected"),
    [
        (by_percent(5, 25, 100), 1000, [50, 250, 1000]),
        (by_percent(5, 25, 100), 3, [1, 2, 3]),
        (by_percent(5, 25, 100), 1, [1, 1, 1]),
        (by_percent(5, 25, 100), 0, [0, 0, 0]),
        (by_percent(0.1, 100), 1000, [1, 1000]),
        (by_percent(29, 100), 100, [29, 100]),
        (by_percent(0.01, 50), 100, [1, 50]),
        (by_count(2, 5), 100, [2, 5]),
        (by_count(2, 5), 3, [2, 3]),
        ([PhaseIn(count=10), PhaseIn(percent=5), PhaseIn(percent=100)], 100, [10, 11, 100]),
    ],
)
def test_sizes_include_the_phases_before_and_none_is_empty_while_cameras_are_left(phases, cameras, expected):
    assert sizes(phases, cameras) == expected


@given(values=percents, cameras=st.integers(0, 5000))
def test_shares_are_rounded_up_and_rise(values, cameras):
    found = sizes(by_percent(*values), cameras)
    assert found == sorted(found)
    assert all(0 <= size <= cameras for size in found)
    for size, value in zip(found, values, strict=True):
        assert size * 100 >= min(Fraction(repr(value)) * cameras, 100 * cameras)


@given(one=st.floats(0.001, 100), other=st.floats(0.001, 100), cameras=st.integers(0, 5000))
def test_a_larger_share_is_never_fewer_cameras(one, other, cameras):
    smaller, larger = sorted((one, other))
    assert sizes(by_percent(smaller), cameras) <= sizes(by_percent(larger), cameras)


@given(
    phases=st.one_of(percents.map(lambda v: by_percent(*v)), counts.map(lambda v: by_count(*v))), cameras=st.integers(0, 300)
)
def test_every_camera_is_in_exactly_the_phase_that_its_rank_says(phases, cameras):
    ranks = sorted(rank_of(f"camera-{number}", "a-rollout") for number in range(cameras))
    ends = bounds(phases, ranks)
    reached = sizes(phases, cameras)
    places = [phase_at(rank, ends) for rank in ranks]
    slices = [end - start for start, end in zip([0, *reached], reached, strict=False)]
    assert [places.count(number) for number in range(1, len(phases) + 1)] == slices
    assert places.count(None) == cameras - reached[-1]
    assert [place or 99 for place in places] == sorted(place or 99 for place in places)


def test_a_place_is_stable_within_a_rollout_and_another_in_the_next():
    cameras, first, second = [new_id() for _ in range(200)], new_id(), new_id()
    order = sorted(cameras, key=lambda each: rank_of(each, first))
    assert order == sorted(reversed(cameras), key=lambda each: rank_of(each, first))
    assert len(set(order[:20]) & set(sorted(cameras, key=lambda each: rank_of(each, second))[:20])) < 12
    assert all(0 <= rank_of(each, first) < RANKS for each in cameras)


@given(rank=st.integers(0, RANKS - 1), current=st.integers(1, 3))
def test_who_comes_late_has_a_place_in_a_share_but_none_in_a_count_that_is_full(rank, current):
    ranks = [rank_of(f"camera-{number}", "a-rollout") for number in range(50)]
    shares = by_percent(5, 25, 100)
    ends = bounds(shares, sorted(ranks))
    assert joining(rank, ends, shares, current) == max(current, phase_at(rank, ends))
    full = by_count(2, 5)
    assert joining(rank, bounds(full, sorted(ranks)), full, 1) is None
    mixed = [PhaseIn(count=3), PhaseIn(percent=100)]
    assert joining(rank, bounds(mixed, sorted(ranks)), mixed, 1) == 2
