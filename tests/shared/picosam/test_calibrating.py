"""What probabilities are worth: the curve through validation windows, its figures, and how masks are spread."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.contracts.serving import HISTOGRAM_BINS, Calibration
from shared.contracts.windows import Border
from shared.picosam.calibrating import LEAST_WINDOWS, MOST_KNOTS, Judged, grouped, measure, varied
from shared.picosam.confidence import expected_iou

RANDOM = np.random.default_rng(5)

READER = """
import sys
import numpy
from shared.contracts.serving import Calibration
from shared.picosam.confidence import expected_iou
expected = expected_iou(numpy.array([0.5]), Calibration.model_validate_json(sys.argv[1]))
print(expected[0], {"torch", "scipy"} & set(sys.modules))
"""


def judged(soft, iou, **overrides):
    """Two windows an image unless told otherwise."""
    values = {"soft_iou": np.asarray(soft, float), "iou": np.asarray(iou, float), "area": np.full(len(soft), 0.25)}
    return Judged(**(values | {"image_id": np.arange(len(soft)) // 2} | overrides))


def noisy(iou, spread=0.1):
    """IoUs whose mean is ``iou``."""
    reach = np.minimum(spread, np.minimum(iou, 1 - iou))
    return iou + RANDOM.uniform(-reach, reach)


shares = arrays.arrays(np.float64, st.integers(0, 80), elements=st.floats(0, 1))


@settings(deadline=None, max_examples=200)
@given(soft=shares, data=st.data())
def test_any_curve_rises_and_stays_between_nothing_and_all(soft, data):
    iou = data.draw(arrays.arrays(np.float64, soft.size, elements=st.floats(0, 1)))
    images = data.draw(arrays.arrays(np.int64, soft.size, elements=st.integers(0, 9)))
    found = measure(judged(soft, iou, image_id=images))
    if (curve := found.calibration) is None:  # that knots rise, Calibration itself checks
        return
    asked = np.sort(np.concatenate([soft, np.linspace(0, 1, 101)]))
    expected = expected_iou(asked, curve)
    assert (np.diff(expected) >= -1e-12).all()
    assert ((expected >= 0) & (expected <= 1)).all()
    assert len(curve.soft_iou) <= MOST_KNOTS
    assert curve.windows == (soft > 0).sum() >= LEAST_WINDOWS


def test_a_network_that_is_right_about_itself_is_left_as_it_is():
    soft = RANDOM.uniform(0.05, 0.95, 3000)
    curve = measure(judged(soft, noisy(soft))).calibration
    assert np.abs(expected_iou(np.linspace(0.1, 0.9, 50), curve) - np.linspace(0.1, 0.9, 50)).max() < 0.03
    assert curve.rank_correlation > 0.95
    assert curve.calibration_error < 0.02
    assert curve.mean_abs_error == pytest.approx(0.05, abs=0.01)
    assert (curve.windows, curve.border) == (3000, Border.PAD)


def test_an_overconfident_network_is_corrected():
    soft = RANDOM.uniform(0.3, 1, 3000)
    true = soft**3
    found = measure(judged(soft, noisy(true)))
    assert np.abs(soft - true).mean() > 0.25
    assert np.abs(expected_iou(soft, found.calibration) - true).mean() < 0.02
    assert found.figures["confidence_calibration_error"] < 0.02
    assert found.figures["confidence_rank_correlation"] == found.calibration.rank_correlation > 0.95


def test_figures_are_those_of_images_that_the_curve_has_not_seen():
    soft, iou = np.concatenate([np.linspace(0.1, 0.2, 50), np.linspace(0.8, 0.9, 50)]), np.repeat([0.1, 0.9], 50)
    curve = measure(judged(soft, iou, image_id=np.repeat([0, 1], 50))).calibration
    assert np.abs(expected_iou(soft, curve) - iou).mean() < 0.01
    assert curve.mean_abs_error == pytest.approx(0.8)  # each image says the wrong thing of the other


def test_a_confidence_that_tells_nothing_has_no_rank_correlation_worth_the_name():
    soft, iou = RANDOM.uniform(0, 1, 2000), RANDOM.uniform(0, 1, 2000)
    curve = measure(judged(soft, iou)).calibration
    assert abs(curve.rank_correlation) < 0.1
    assert np.ptp(curve.expected_iou) < 0.3


@pytest.mark.parametrize(
    ("soft", "iou", "images"),
    [
        ([], [], []),
        (np.zeros(50), np.ones(50), np.arange(50)),  # every mask is empty
        (np.linspace(0.1, 0.9, 19), np.linspace(0, 1, 19), np.arange(19)),
        (np.full(50, 0.4), np.linspace(0, 1, 50), np.arange(50)),
        (np.linspace(0.1, 0.9, 50), np.zeros(50), np.arange(50)),
        (np.linspace(0.1, 0.9, 50), np.linspace(0, 1, 50), np.zeros(50)),  # one image: nothing to hold out
    ],
)
def test_too_few_masks_or_all_alike_make_no_calibration(soft, iou, images):
    found = measure(judged(soft, iou, image_id=np.asarray(images, np.int64)))
    assert (found.calibration, found.figures, found.reliability) == (None, {}, {})
    assert (found.reference is None) == (not np.any(soft))


def test_the_reference_counts_masks_in_bins_and_windows_without_one_apart():
    soft, area = np.array([0, 0.22, 0.97, 1.0]), np.array([0, 0.01, 0.5, 1.0])
    found = measure(judged(soft, [1, 0, 0, 0], area=area)).reference
    assert (found.windows, found.empty) == (4, 0.25)
    assert {row: share for row, share in enumerate(found.area) if share} == pytest.approx({0: 1 / 3, 10: 1 / 3, 19: 1 / 3})
    assert {row: share for row, share in enumerate(found.confidence) if share} == pytest.approx({4: 1 / 3, 19: 2 / 3})


@settings(deadline=None)
@given(soft=shares.filter(np.any))
def test_the_reference_adds_up_to_one(soft):
    found = measure(judged(soft, np.linspace(0, 1, soft.size), area=soft)).reference
    assert sum(found.area) == pytest.approx(1)
    assert sum(found.confidence) == pytest.approx(1)
    assert len(found.area) == len(found.confidence) == HISTOGRAM_BINS


def test_groups_are_equally_large_and_in_order():
    confidence = np.repeat([0.9, 0.1], 50)
    means, true = grouped(confidence, np.repeat([1.0, 0.5], 50))
    assert means == pytest.approx([0.1] * 5 + [0.9] * 5)
    assert true == pytest.approx([0.5] * 5 + [1] * 5)


@given(area=shares, count=st.integers(1, 20))
def test_masks_are_chosen_over_all_sizes_and_none_twice(area, count):
    rows = varied(area, count)
    assert len(set(rows.tolist())) == len(rows) == min(count, area.size)
    drawn = area[rows][area[rows] > 0]
    assert drawn.size == min(count, (area > 0).sum())
    assert (np.diff(drawn) >= 0).all()


def test_neither_the_smallest_nor_the_largest_of_many_masks_is_chosen():
    assert (varied(np.arange(0, 81) / 100, 4) - 1).tolist() == [10, 30, 50, 70]


def test_what_was_measured_is_read_without_scipy_and_torch():
    soft = RANDOM.uniform(0, 1, 100)
    text = measure(judged(soft, soft)).calibration.model_dump_json()
    ran = subprocess.run([sys.executable, "-c", READER, text], capture_output=True, text=True, timeout=60, check=True)
    value, loaded = ran.stdout.split(" ", 1)
    assert float(value) == expected_iou(np.array([0.5]), Calibration.model_validate_json(text))[0]
    assert loaded.strip() == "set()"
