"""Prompts that are off by a known share of the object's box, the same ones each time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.picosam.jitter import PromptJitter

SHAPE = (480, 640)
BOX = (100.0, 200.0, 180.0, 240.0)


def test_no_share_moves_nothing():
    jitter = PromptJitter(share=0)
    assert jitter.box(BOX, SHAPE, 7) == BOX
    assert jitter.point((140, 220), BOX, SHAPE, 7) == (140, 220)


def test_edges_move_uniformly_and_by_their_own_by_up_to_the_share_of_their_side():
    jitter = PromptJitter(share=0.25)
    moves = np.array([jitter.box(BOX, SHAPE, number) for number in range(4000)]) - BOX
    shares = moves / [80, 40, 80, 40]
    assert np.abs(shares).max() <= 0.25
    assert shares.min(axis=0) == pytest.approx([-0.25] * 4, abs=0.002)
    assert shares.max(axis=0) == pytest.approx([0.25] * 4, abs=0.002)
    assert shares.mean(axis=0) == pytest.approx([0] * 4, abs=0.01)
    assert shares.std(axis=0) == pytest.approx([0.25 / 3**0.5] * 4, rel=0.03)
    assert np.abs(np.corrcoef(shares.T) - np.eye(4)).max() < 0.06


def test_points_move_by_up_to_the_share_of_their_objects_sides():
    jitter = PromptJitter(share=0.5)
    moves = np.array([jitter.point((140, 220), BOX, SHAPE, number) for number in range(2000)]) - (140, 220)
    assert np.abs(moves).max(axis=0).tolist() == [40, 20]
    assert moves.mean(axis=0) == pytest.approx([0, 0], abs=2)


def test_a_box_that_is_pushed_out_of_the_image_is_cut_there():
    boxes = [PromptJitter(share=0.5).box((0, 0, 40, 400), SHAPE, number) for number in range(50)]
    assert {box[0] for box in boxes if box[0] == 0}
    assert all(box[2] <= 60 for box in boxes)


def test_a_larger_share_moves_the_same_prompts_farther_the_same_way():
    small, large = (np.array(PromptJitter(share=share).box(BOX, SHAPE, 5)) - BOX for share in (0.1, 0.3))
    assert large == pytest.approx(3 * small)


def test_moves_depend_on_seed_and_annotation_alone():
    boxes = {PromptJitter(share=0.1, seed=seed).box(BOX, SHAPE, number) for seed in (0, 1) for number in (1, 2, -1)}
    assert len(boxes) == 6
    # As computed once: another numpy or platform must ask with the same prompts.
    found = PromptJitter(share=0.1).box(BOX, SHAPE, 1)
    assert found == pytest.approx((102.58607280771906, 203.72777060635232, 186.2324353736558, 238.6083623450128), abs=1e-9)


coordinates = st.floats(0, 1)


@given(
    corners=st.tuples(coordinates, coordinates, coordinates, coordinates),
    share=st.floats(0.001, 1),
    number=st.integers(-(2**63), 2**63 - 1),
    shape=st.tuples(st.integers(1, 700), st.integers(1, 700)),
)
def test_a_moved_prompt_can_always_be_asked_with(corners, share, number, shape):
    height, width = shape
    across, down = sorted(corners[:2]), sorted(corners[2:])
    box = (across[0] * width, down[0] * height, across[1] * width, down[1] * height)
    jitter = PromptJitter(share=share)
    x0, y0, x1, y1 = jitter.box(box, shape, number)
    assert 0 <= x0 <= x1 - 1 <= width - 1
    assert 0 <= y0 <= y1 - 1 <= height - 1
    x, y = jitter.point((int(box[0]) % width, int(box[1]) % height), box, shape, number)
    assert 0 <= x < width
    assert 0 <= y < height


@pytest.mark.parametrize(
    ("options", "said"), [({"share": -0.1}, "share"), ({"share": 1.1}, "share"), ({"share": 0, "seed": -1}, "seed")]
)
def test_what_is_no_share_or_seed_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        PromptJitter(**options)
