"""Soft IoU and expected IoU: the arithmetic that serving and evaluation share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from shared.contracts.serving import Calibration
from shared.picosam.confidence import expected_iou, soft_iou

CURVE = Calibration(
    soft_iou=[0.2, 0.6, 0.8],
    expected_iou=[0.1, 0.3, 0.9],
    windows=100,
    rank_correlation=0.5,
    mean_abs_error=0.1,
    calibration_error=0.02,
)

any_logits = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 4), st.just(5), st.just(5)), elements=st.floats(-100, 100, width=32)
)


@given(any_logits)
def test_it_is_the_expected_overlap_over_the_expected_union(logits):
    likely = 1 / (1 + np.exp(-logits.astype(np.float64)))
    masks = logits > 0
    wanted = [p[m].sum() / (m.sum() + p[~m].sum()) if m.any() else 0 for p, m in zip(likely, masks, strict=True)]
    found = soft_iou(logits)
    assert found == pytest.approx(wanted, abs=1e-5)
    assert ((found >= 0) & (found <= 1)).all()
    assert ((found > 0) == masks.any(axis=(1, 2))).all()


def test_a_network_that_is_sure_expects_all_and_one_that_sees_nothing_expects_nothing():
    sure, nothing = np.full((1, 4, 4), -np.inf, np.float32), np.full((1, 4, 4), -1, np.float32)
    sure[0, 1:3, 1:3] = np.inf
    assert soft_iou(np.concatenate([sure, nothing])).tolist() == [1, 0]


def test_what_is_possible_outside_lowers_it():
    logits = np.full((2, 4, 4), -9, np.float32)
    logits[:, 0, 0] = 3
    logits[1, 3] = -0.1
    certain, doubtful = soft_iou(logits)
    assert doubtful < certain / 2


def test_the_curve_is_followed_between_its_knots_and_level_beyond_them():
    found = expected_iou(np.array([0.05, 0.2, 0.4, 0.7, 0.95]), CURVE)
    assert found == pytest.approx([0.1, 0.1, 0.2, 0.6, 0.9])


def test_an_empty_mask_is_never_expected_to_be_right():
    assert expected_iou(np.zeros(1), CURVE).tolist() == expected_iou(np.zeros(1), None).tolist() == [0]


def test_without_a_calibration_the_soft_iou_stands_as_it_is():
    assert expected_iou(np.array([0.3, 0.7]), None).tolist() == [0.3, 0.7]
