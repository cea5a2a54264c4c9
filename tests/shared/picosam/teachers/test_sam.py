"""SAM 2.1 gives the answers of its own package's predictor, whatever is batched. Random weights: the arithmetic is the same."""

import dataclasses
import warnings

import numpy as np
import pytest
import torch

from shared.contracts.distillation import SamSize
from shared.picosam.teachers.base import TeacherFailed, View
from shared.picosam.teachers.sam import SamTeacher, choose, random_sam, sam_digest


@pytest.fixture(scope="module")
def predictor(sam):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sam2 scripts its transforms, which torch deprecates
        from sam2.sam2_image_predictor import SAM2ImagePredictor

        return SAM2ImagePredictor(sam._network)


def predicted(predictor, view: View, prompt: int) -> tuple[np.ndarray, np.ndarray]:
    """The three masks of one prompt as the package gives them, and its guesses of their IoU."""
    asked = {"box": view.boxes[prompt]}
    if view.prompt == "point":
        asked = {"point_coords": view.points[prompt : prompt + 1], "point_labels": np.array([1])}
    _, quality, masks = predictor.predict(**asked, return_logits=True)
    return masks, quality


@pytest.mark.slow
def test_answers_are_those_of_the_packages_predictor_prompt_by_prompt(sam, predictor, a_view):
    """Two views embedded together, as on a GPU; the nine boxes take two passes of the decoder."""
    views = [a_view(2), a_view(9, 64, 200, prompt="box")]
    for view, answer in zip(views, sam._answer(views), strict=True):
        predictor.set_image(view.image.copy())
        for number in range(len(view)):
            masks, quality = predicted(predictor, view, number)
            np.testing.assert_allclose(answer.logits[number], masks[quality.argmax()], atol=1e-3)
            assert answer.quality[number] == pytest.approx(quality.max(), abs=1e-3)


def test_best_takes_the_mask_that_sam_thinks_best():
    masks, quality = torch.arange(6.0).view(2, 3, 1, 1), torch.tensor([[0.1, 0.9, 0.3], [0.8, 0.2, 0.1]])
    logits, best = choose(masks, quality, "best")
    assert (logits.flatten().tolist(), best.tolist()) == ([1, 3], pytest.approx([0.9, 0.8]))


def test_weighted_weighs_all_masks_by_what_sam_thinks_of_them():
    masks, quality = torch.tensor([10.0, 20, 40]).view(1, 3, 1, 1), torch.tensor([[0.5, 0.25, 0.25]])
    logits, of_all = choose(masks, quality, "weighted")
    assert logits.item() == pytest.approx(20)
    assert of_all.item() == pytest.approx(0.375)


def test_weighted_survives_a_sam_that_believes_in_none():
    logits, quality = choose(torch.ones(1, 3, 2, 2), torch.zeros(1, 3), "weighted")
    assert torch.isfinite(logits).all()
    assert quality.item() == 0


def test_digests_tell_sizes_weights_and_settings_apart():
    digests = {
        sam_digest(size, weights, masks)
        for size in (SamSize.TINY, SamSize.LARGE)
        for weights in ("sha256:1", "random:1")
        for masks in ("best", "weighted")
    }
    assert len(digests) == 8


def test_random_weights_are_those_of_their_seed(sam):
    again, other = random_sam(SamSize.TINY, seed=5), random_sam(SamSize.TINY, seed=6)
    weights = [dict(teacher._network.state_dict())["sam_mask_decoder.iou_token.weight"] for teacher in (sam, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert sam.digest == again.digest != other.digest


def test_random_weights_leave_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    random_sam(SamSize.TINY)
    assert torch.equal(torch.rand(1), expected)


def test_an_answer_that_is_no_number_is_refused(sam, a_view, monkeypatch):
    monkeypatch.setattr(SamTeacher, "_decode", lambda *_: (torch.full((1, 4, 4), torch.nan), torch.ones(1)))
    monkeypatch.setattr(SamTeacher, "_embed", lambda *_: None)
    with pytest.raises(TeacherFailed, match="not finite"):
        sam.answer([a_view(1)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": np.zeros((4, 4), np.uint8)},
        {"image": np.zeros((0, 4, 3), np.uint8)},
        {"image": np.zeros((4, 4, 3), np.float32)},
        {"points": np.zeros((3, 3), np.float32)},
        {"boxes": np.zeros((2, 4), np.float32)},
    ],
    ids=["grey", "empty", "floats", "points", "boxes"],
)
def test_a_view_that_is_none_is_refused(a_view, wrong):
    with pytest.raises(ValueError, match="a view's"):
        dataclasses.replace(a_view(3), **wrong)
