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


def test_a_reference_that_computes_something_else_is_not_shipped():
    windows = np.zeros((16, 8, 8, 3), np.uint8)
    assert check_reference(Answering(logits()), Answering(logits()), windows, 0.125).codes_equal == 1
    with pytest.raises(UnfaithfulReference, match="output codes are within 1"):
        check_reference(Answering(logits()), Answering(logits(1)), windows, 0.125)
