import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from shared.picosam.data import rle
from shared.picosam.data.rle import MaskProblem

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


@given(mask=masks)
def test_a_mask_comes_back_as_it_was(mask):
    code = rle.from_mask(mask)
    assert np.array_equal(rle.to_mask(code), mask)
    assert rle.area(code) == mask.sum()


@given(mask=masks)
def test_text_and_counts_lead_to_the_same_code(mask):
    code = rle.from_mask(mask)
    counts = rle.parse_text(code.counts)
    assert rle.from_counts(counts.tolist(), code.size, mask.shape) == code
    assert rle.from_counts(code.counts, code.size, mask.shape) == code


@given(mask=masks)
def test_counts_are_those_that_cocos_tools_write(mask):
    counts = rle.parse_text(rle.from_mask(mask).counts)
    encoded = coco_mask.frPyObjects({"size": list(mask.shape), "counts": counts.tolist()}, *mask.shape)
    assert encoded["counts"].decode() == rle.from_mask(mask).counts


@given(counts=st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_empty_runs_change_the_code_of_no_mask(counts):
    total = sum(counts)
    runs = np.array(counts)
    plain = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    clean = rle.canonical(runs)
    assert np.array_equal(np.repeat(np.arange(clean.size) % 2 == 1, clean), plain)
    assert (clean[1:] > 0).all()
    assert clean.sum() == total


@given(text=st.text(max_size=60))
def test_any_text_is_a_code_or_a_named_problem(text):
    with contextlib.suppress(MaskProblem):
        assert rle.to_mask(rle.from_counts(text, [6, 7], (6, 7))).shape == (6, 7)


@given(counts=st.lists(st.integers(), max_size=10))
def test_any_counts_are_a_code_or_a_named_problem(counts):
    with contextlib.suppress(MaskProblem):
        assert rle.to_mask(rle.from_counts(counts, [6, 7], (6, 7))).shape == (6, 7)


def test_counts_whose_sum_runs_over_are_refused():
    with pytest.raises(MaskProblem, match="count of"):
        rle.from_counts([2**63 - 1, 2**63 - 1, 2 + 42], [6, 7], (6, 7))


def test_the_box_is_tight_and_zero_for_no_pixels():
    mask = np.zeros((20, 30), np.bool_)
    assert rle.tight_box(rle.from_mask(mask)) == (0, 0, 0, 0)
    mask[3:7, 10:25] = True
    assert rle.tight_box(rle.from_mask(mask)) == (10, 3, 15, 4)
