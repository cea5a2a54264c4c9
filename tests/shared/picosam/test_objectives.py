import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.distillation import Distillation
from shared.contracts.training import Recipe
from shared.picosam.loader import Batch, Taught
from shared.picosam.losses import bce_loss, dice_loss, mse_loss
from shared.picosam.objectives import FromMasks, FromTeacher, teacher_weight


def a_batch(count: int = 4, *, quality: list[float] | None = None) -> tuple[torch.Tensor, Batch]:
    random = torch.Generator().manual_seed(1)
    logits, teacher = (torch.randn(count, 1, 6, 6, generator=random) for _ in range(2))
    masks = (torch.rand(count, 1, 6, 6, generator=random) > 0.5).to(torch.uint8)
    taught = Taught(logits=3 * teacher, quality=torch.tensor(quality or [0.9, 0.2, 0.5, 0.7][:count]))
    images = torch.zeros(count, 3, 6, 6, dtype=torch.uint8)
    return logits.requires_grad_(), Batch(numbers=np.arange(count), images=images, masks=masks, answers=taught)


def parts_of(logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Teacher's and mask's part of each sample, as the published code means them."""
    wanted, masks = batch.answers.logits.sigmoid(), batch.masks.float()
    return mse_loss(logits, wanted) + dice_loss(logits, wanted), bce_loss(logits, masks) + dice_loss(logits, masks)


def test_each_sample_is_weighed_by_its_own_quality():
    logits, batch = a_batch()
    losses = FromTeacher(Recipe(), Distillation(weight=0.8))(logits, batch, 0)
    teacher, mask = parts_of(logits, batch)
    a = 0.8 * batch.answers.quality
    expected = (a * teacher + (1 - a) * mask).mean()
    of_means = a.mean() * teacher.mean() + (1 - a.mean()) * mask.mean()
    assert losses.total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert abs(expected - of_means) > 1e-3  # else this test could not tell the two apart


def test_the_papers_loss_weighs_all_samples_alike():
    logits, batch = a_batch()
    losses = FromTeacher(Recipe(), Distillation(loss="paper", weight=0.3))(logits, batch, 0)
    masks = batch.masks.float()
    mask = (bce_loss(logits, masks) + dice_loss(logits, masks)) / 2
    expected = 0.3 * mse_loss(logits, batch.answers.logits.sigmoid()) + 0.7 * mask
    assert losses.total.item() == pytest.approx(expected.mean().item(), rel=1e-6)


def test_a_teacher_without_weight_leaves_the_plain_loss():
    logits, batch = a_batch()
    taught = FromTeacher(Recipe(area_weight=0.5), Distillation(weight=0))(logits, batch, 0)
    plain = FromMasks(Recipe(area_weight=0.5))(logits, batch, 0)
    assert taught.total.item() == pytest.approx(plain.total.item(), rel=1e-6)
    for name, value in plain.parts.items():
        assert taught.parts[name].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("loss", ["per_sample", "paper"])
def test_a_sample_without_an_answer_is_learnt_from_its_mask_alone(loss):
    objective = FromTeacher(Recipe(), Distillation(loss=loss, weight=1))
    logits, batch = a_batch(2, quality=[math.nan, 1.0])
    objective(logits, batch, 0).total.backward()
    got = logits.grad.clone()
    alone = logits.detach()[:1].clone().requires_grad_()
    masks = batch.masks[:1].float()
    share = 2 if loss == "paper" else 1
    ((bce_loss(alone, masks) + dice_loss(alone, masks)).sum() / share / 2).backward()
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got[:1], alone.grad)


@pytest.mark.parametrize(("quality", "weight"), [(1.7, 1.0), (-0.2, 0.0), (0.25, 0.25)])
def test_a_quality_outside_of_0_to_1_counts_as_the_nearer_end(quality, weight):
    logits, batch = a_batch(1, quality=[quality])
    assert FromTeacher(Recipe(), Distillation())(logits, batch, 0).parts["teacher_weight"].item() == pytest.approx(weight)


def test_temperature_softens_both_sides():
    logits, batch = a_batch()
    losses = FromTeacher(Recipe(), Distillation(temperature=4))(logits, batch, 0)
    wanted = (batch.answers.logits / 4).sigmoid()
    expected = mse_loss(logits / 4, wanted) + dice_loss(logits / 4, wanted)
    assert losses.parts["loss_teacher"].item() == pytest.approx(expected.mean().item(), rel=1e-6)


def test_a_student_that_answers_as_its_teacher_pays_no_squared_difference():
    _, batch = a_batch()
    losses = FromTeacher(Recipe(), Distillation(loss="paper", weight=1))(batch.answers.logits, batch, 0)
    assert losses.total.item() == 0


@pytest.mark.parametrize("loss", ["per_sample", "paper"])
def test_gradients_of_a_batch_are_those_of_its_samples(loss):
    objective = FromTeacher(Recipe(area_weight=0.3), Distillation(loss=loss, weight=0.6))
    logits, batch = a_batch()
    objective(logits, batch, 0).total.backward()
    whole, logits.grad = logits.grad, None
    for one in range(4):
        rows = slice(one, one + 1)
        taught = Taught(logits=batch.answers.logits[rows], quality=batch.answers.quality[rows])
        part = Batch(numbers=batch.numbers[rows], images=batch.images[rows], masks=batch.masks[rows], answers=taught)
        (objective(logits[rows], part, 0).total / 4).backward()
    torch.testing.assert_close(logits.grad, whole, rtol=1e-5, atol=1e-8)


def test_a_batch_without_answers_is_refused():
    logits, batch = a_batch()
    without = Batch(numbers=batch.numbers, images=batch.images, masks=batch.masks)
    with pytest.raises(ValueError, match="needs a teacher's answers"):
        FromTeacher(Recipe(), Distillation())(logits, without, 0)


@given(
    steps=st.integers(1, 5000),
    schedule=st.sampled_from(["linear", "cosine"]),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_schedule_runs_from_its_first_to_its_last_weight_and_never_beyond(steps, schedule, ends):
    first, last = ends
    settings = Distillation(weight=first, final_weight=last, schedule=schedule)
    weights = [teacher_weight(step, steps, settings) for step in sorted({0, steps // 3, steps // 2, steps - 1})]
    assert weights[0] == pytest.approx(first)
    if steps > 1:
        assert weights[-1] == pytest.approx(last)
    falling = sorted(weights, reverse=first > last)
    assert weights == pytest.approx(falling)
    assert min(first, last) - 1e-9 <= min(weights)
    assert max(weights) <= max(first, last) + 1e-9


def test_a_cosine_is_slow_at_both_ends():
    cosine = Distillation(weight=1, final_weight=0, schedule="cosine")
    assert [teacher_weight(step, 5, cosine) for step in range(5)] == pytest.approx([1, 0.853553, 0.5, 0.146447, 0], abs=1e-6)


def test_the_weight_follows_the_step():
    logits, batch = a_batch(1, quality=[1.0])
    objective = FromTeacher(Recipe(samples=48, batch_size=16), Distillation(weight=1, final_weight=0, schedule="linear"))
    assert [objective(logits, batch, step).parts["teacher_weight"].item() for step in range(3)] == [1, 0.5, 0]
