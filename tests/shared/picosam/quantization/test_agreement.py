"""How alike two networks answer."""

import numpy as np
import pytest

from shared.picosam.quantization.agreement import check_reference, of_codes, of_masks
from shared.picosam.quantization.errors import UnfaithfulReference


class Answering:
    def __init__(self, logits):
        self._logits = logits

    def logits(self, images):
        return self._logits[: len(images)]


def logits(seed=0, count=16):
    return (np.random.default_rng(seed).integers(-40, 40, (count, 8, 8)) * 0.125).astype(np.float32)


def test_a_network_agrees_with_itself():
    found = of_codes(logits(), logits(), 0.125)
    assert (found.pixels, found.mask_iou, found.mask_iou_p5, found.codes_equal, found.codes_within_one) == (1, 1, 1, 1, 1)


def test_codes_are_told_apart_by_one_and_by_more():
    other = logits()
    other[0, 0, :4] += 0.125
    other[0, 1, :2] += 0.5
    found = of_codes(logits(), other, 0.125)
    assert found.codes_equal == pytest.approx(1 - 6 / 1024)
    assert found.codes_within_one == pytest.approx(1 - 2 / 1024)


def test_masks_are_compared_window_by_window():
    first = np.packbits(np.ones((2, 64), np.bool_), axis=1)
    second = first.copy()
    second[1, :4] = 0
    found = of_masks(first, second)
    assert (found.pixels, found.mask_iou, found.windows) == (0.75, 0.75, 2)


WINDOWS = np.zeros((16, 8, 8, 3), np.uint8)


def moved(share, seed=2):
    """The logits with so many codes moved by 2."""
    found = logits()
    return found + np.where(np.random.default_rng(seed).random(found.shape) < share, 0.25, 0).astype(np.float32)


def checked(reference, exact):
    return check_reference(Answering(logits()), lambda: Answering(exact), Answering(reference), WINDOWS, 0.125)


def test_a_reference_that_computes_something_else_is_not_shipped():
    assert checked(logits(), exact=logits(1)).codes_equal == 1, "where all is well nobody asks how much is rounding"
    with pytest.raises(UnfaithfulReference, match="output codes are within 1"):
        checked(logits(1), exact=logits())


def test_a_reference_may_differ_as_much_as_rounding_explains_and_no_more():
    assert checked(moved(0.03), exact=moved(0.03, seed=3)).codes_within_one == pytest.approx(0.97, abs=0.02)
    with pytest.raises(UnfaithfulReference, match="rounding alone moves"):
        checked(moved(0.15), exact=moved(0.03, seed=3))
