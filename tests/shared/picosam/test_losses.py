import math

import pytest
import torch

from shared.picosam.losses import dice_loss, segmentation_loss


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
