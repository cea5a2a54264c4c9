"""Which windows calibrate, and which would mislead."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.picosam.quantization.calibration import check_windows, choose_rows
from shared.picosam.quantization.errors import BadCalibration


def photographs(count=32):
    """Noise that is a little redder than blue, as photographs are."""
    levels = np.random.default_rng(0).integers(0, 236, (count, 8, 8, 3))
    return (levels + np.array([20, 10, 0])).astype(np.uint8)


@given(
    areas=st.lists(st.floats(1, 90_000), min_size=16, max_size=200), count=st.integers(16, 220), seed=st.integers(0, 2**32 - 1)
)
def test_rows_are_drawn_once_and_always_the_same(areas, count, seed):
    rows = choose_rows(np.array(areas), count, seed)
    assert rows.size == min(count, len(areas)) == np.unique(rows).size
    assert (np.diff(rows) > 0).all()
    assert (rows == choose_rows(np.array(areas), count, seed)).all()


def test_sizes_are_drawn_alike_though_most_objects_are_small():
    areas = np.array([100.0] * 900 + [5_000.0] * 60 + [50_000.0] * 40)
    chosen = areas[choose_rows(areas, 90, seed=1)]
    assert [int((chosen == size).sum()) for size in (100, 5_000, 50_000)] == [30, 30, 30]


def test_another_seed_draws_others():
    areas = np.full(500, 100.0)
    assert (choose_rows(areas, 50, 0) != choose_rows(areas, 50, 1)).any()


def test_too_few_windows_are_refused():
    with pytest.raises(BadCalibration, match="has 15 windows; at least 16"):
        choose_rows(np.ones(15), 160, 0)


def test_photographs_are_accepted_and_described():
    found = check_windows(photographs())
    assert (found.windows, found.darkest, found.brightest) == (32, 0, 255)
    assert found.mean[0] > found.mean[2]


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        (photographs().astype(np.float32) / 256, "are float32"),
        (photographs().transpose(0, 3, 1, 2), r"expected uint8 \[N, S, S, 3\]"),
        ((photographs() > 127).astype(np.uint8), "above 1 of 255"),
        (photographs() // 2, "above 127 of 255"),
        (np.full((32, 8, 8, 3), 200, np.uint8), "next to nothing"),
        (photographs()[..., ::-1], "look swapped"),
        (photographs(8), "8 calibration windows"),
    ],
)
def test_windows_that_would_mislead_are_refused(windows, told):
    with pytest.raises(BadCalibration, match=told) as caught:
        check_windows(windows)
    assert caught.value.hint


def test_a_blue_place_can_be_insisted_on():
    assert check_windows(photographs()[..., ::-1], allow_unusual=True).mean[2] > 120
