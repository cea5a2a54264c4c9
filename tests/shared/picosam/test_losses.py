import math

import pytest
import torch

from shared.picosam.losses import area_loss, bce_loss, dice_loss, mse_loss, segmentation_loss


def a_batch(count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(count, 1, 6, 6, generator=random, requires_grad=True)
    return logits, (torch.rand(count, 1, 6, 6, generator=random) > 0.5).float()


def test_dice_of_a_known_overlap():
    masks = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    sure = torch.tensor([[[[50.0, -50.0, 50.0, -50.0]]]])
    # One pixel shared, two each, one added to both sides: 1 - 3 / 5.
    assert dice_loss(sure, masks).item() == pytest.approx(0.4)


def test_an_empty_mask_met_by_an_empty_answer_costs_nothing():
    logits = torch.full((1, 1, 8, 8), -50.0, requires_grad=True)
    losses = segmentation_loss(logits, torch.zeros(1, 1, 8, 8), bce_weight=1, dice_weight=1)
    losses.total.backward()
    assert losses.total.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()


def test_undecided_logits_cost_ln_2():
    losses = segmentation_loss(torch.zeros(2, 1, 4, 4), torch.ones(2, 1, 4, 4), bce_weight=3, dice_weight=0)
    assert losses.parts["loss_bce"].item() == pytest.approx(math.log(2))
    assert losses.total.item() == pytest.approx(3 * math.log(2))


def test_gradients_of_a_batch_of_8_are_those_of_4_batches_of_2():
    logits, masks = a_batch(8)
    segmentation_loss(logits, masks, bce_weight=1, dice_weight=1).total.backward()
    whole, logits.grad = logits.grad, None
    for start in range(0, 8, 2):
        part = slice(start, start + 2)
        (segmentation_loss(logits[part], masks[part], bce_weight=1, dice_weight=1).total / 4).backward()
    torch.testing.assert_close(logits.grad, whole, rtol=1e-6, atol=1e-9)


def test_the_loss_is_float32_whatever_the_network_computed_in():
    logits, masks = a_batch(2)
    losses = segmentation_loss(logits.bfloat16(), masks.to(torch.uint8), bce_weight=1, dice_weight=1)
    assert {tensor.dtype for tensor in (losses.total, *losses.parts.values())} == {torch.float32}


def test_losses_of_each_sample_average_to_those_of_the_batch():
    logits, masks = a_batch(3)
    losses = segmentation_loss(logits, masks, bce_weight=1, dice_weight=1)
    assert bce_loss(logits, masks).shape == dice_loss(logits, masks).shape == (3,)
    assert bce_loss(logits, masks).mean().item() == pytest.approx(losses.parts["loss_bce"].item(), rel=1e-6)


def test_squared_difference_is_between_probabilities():
    logits, wanted = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.5, 1.0], [0.0, 0.5]]]])
    assert mse_loss(logits, wanted).item() == pytest.approx(0.125)


@pytest.mark.parametrize(("answered", "loss"), [(0, 0.4), (2, 0.2), (4, 0.0), (50, 0.0)])
def test_the_area_loss_asks_for_two_fifths_of_the_true_area(answered, loss):
    logits, masks = torch.full((1, 1, 10, 10), -60.0), torch.zeros(1, 1, 10, 10)
    masks[0, 0, 0] = 1
    logits.view(-1)[:answered] = 60
    assert area_loss(logits, masks).item() == pytest.approx(loss, abs=1e-6)


def test_without_an_object_the_area_loss_is_nothing_and_its_gradient_finite():
    logits = torch.full((1, 1, 4, 4), -200.0, requires_grad=True)
    losses = segmentation_loss(logits, torch.zeros(1, 1, 4, 4), bce_weight=0, dice_weight=0, area_weight=1)
    losses.total.backward()
    assert losses.total.item() == losses.parts["loss_area"].item() == 0
    assert torch.isfinite(logits.grad).all()


def test_the_area_loss_joins_by_its_weight():
    logits, masks = torch.full((2, 1, 4, 4), -60.0), torch.ones(2, 1, 4, 4)
    without = segmentation_loss(logits, masks, bce_weight=1, dice_weight=1)
    joined = segmentation_loss(logits, masks, bce_weight=1, dice_weight=1, area_weight=2)
    assert (joined.total - without.total).item() == pytest.approx(0.8, rel=1e-5)
    assert "loss_area" not in without.parts
