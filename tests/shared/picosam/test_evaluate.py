import numpy as np
import pytest
import torch
from torch import nn

from shared.picosam.evaluate import Stopped, evaluate
from shared.picosam.placement import place


class Brightness(nn.Module):
    """Takes every pixel brighter than 90 for object: right on the drawn windows, but for nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean(dim=1, keepdim=True) - 90 / 256) * 100


def test_a_model_that_sees_the_object_scores_nearly_one(drawn_windows, one_thread):
    result = evaluate(Brightness(), drawn_windows(10, 96), place(one_thread))
    assert result.iou.shape == result.confidence.shape == (10,)
    assert result.miou > 0.95
    assert result.has_object.all()


def test_the_mean_is_over_samples_not_over_batches(drawn_windows, one_thread):
    data, placement = drawn_windows(10, 96), place(one_thread)
    whole, parts = (evaluate(Brightness(), data, placement, batch_size=size) for size in (10, 4))
    np.testing.assert_array_equal(whole.iou, parts.iou)
    assert len(evaluate(Brightness(), data, placement, limit=3)) == 3


def test_the_sink_gets_every_row_once_with_its_logits_and_truth(drawn_windows, one_thread):
    rows, shapes = [], []
    data = drawn_windows(5, 96)
    evaluate(
        Brightness(),
        data,
        place(one_thread),
        batch_size=2,
        sink=lambda indices, logits, truth: (rows.extend(indices), shapes.append((logits.shape, truth.dtype))),
    )
    assert rows == [0, 1, 2, 3, 4]
    assert shapes[-1] == ((1, 1, 96, 96), torch.bool)


def test_the_model_is_evaluated_in_evaluation_mode_and_handed_back_as_it_was(drawn_windows, one_thread):
    model = nn.Sequential(Brightness(), nn.BatchNorm2d(1)).train()
    before = model[1].running_mean.clone()
    evaluate(model, drawn_windows(4, 96), place(one_thread))
    assert model.training
    assert model[1].running_mean.equal(before)


def test_an_evaluation_stops_between_batches(drawn_windows, one_thread):
    asked = iter([False, True])
    with pytest.raises(Stopped):
        evaluate(Brightness(), drawn_windows(6, 96), place(one_thread), batch_size=2, stop_requested=lambda: next(asked))


def test_windows_with_a_margin_are_refused(drawn_windows, one_thread):
    with pytest.raises(ValueError, match="these have 168"):
        evaluate(Brightness(), drawn_windows(4, 168), place(one_thread))


def test_nothing_to_evaluate_is_no_figure(drawn_windows, one_thread):
    assert np.isnan(evaluate(Brightness(), drawn_windows(0, 96), place(one_thread)).miou)
