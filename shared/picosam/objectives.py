"""What a batch's answers are measured by: the masks alone, or the masks and a teacher."""

import math
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from shared.contracts.distillation import Distillation
from shared.contracts.training import Recipe
from shared.picosam.loader import Batch
from shared.picosam.losses import Losses, area_loss, bce_loss, dice_loss, mse_loss, segmentation_loss


class Objective(Protocol):
    """Measures one process's share of a batch; keeps no state, so that a resumed run measures the same."""

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> Losses:
        """logits: [b, 1, 96, 96], where the batch's tensors are too. ``step``: optimiser steps taken so far."""


@dataclass(frozen=True, slots=True)
class FromMasks:
    """The plain one: cross entropy and Dice between answer and mask."""

    recipe: Recipe

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> Losses:  # noqa: ARG002 - an Objective
        """Means over the batch: loss_bce, loss_dice, and loss_area where the recipe weighs it."""
        recipe = self.recipe
        return segmentation_loss(
            logits,
            batch.masks,
            bce_weight=recipe.bce_weight,
            dice_weight=recipe.dice_weight,
            area_weight=recipe.area_weight,
        )


@dataclass(frozen=True, slots=True)
class FromTeacher:
    """a x (the teacher's part) + (1 - a) x (the mask's part), each sample with an ``a`` of its own.

    ``per_sample``: a = weight x the teacher's IoU of the sample; MSE + Dice between the probabilities, against BCE + Dice.
    The published code means the same, but multiplies the means over the batch. ``paper``: a = weight; MSE against
    (BCE + Dice) / 2. A sample without an answer of the teacher is learnt from its mask alone.
    """

    recipe: Recipe
    distillation: Distillation

    def __call__(self, logits: Tensor, batch: Batch, step: int) -> Losses:
        """Means over the batch: those of the masks, loss_teacher, loss_mask, and ``teacher_weight``, the mean of a."""
        answers = batch.answers
        if answers is None:
            raise ValueError("distillation needs a teacher's answers in each batch; give the loader the answers")
        logits, masks = logits.float(), batch.masks.float()
        bce, dice = bce_loss(logits, masks), dice_loss(logits, masks)
        mask_part = self.recipe.bce_weight * bce + self.recipe.dice_weight * dice
        teacher_part = self._against(logits, answers.logits)
        weight = self._weight_of(answers.quality, step)
        if self.distillation.loss == "paper":
            mask_part = mask_part / 2
        total = (weight * teacher_part + (1 - weight) * mask_part).mean()
        parts = {"loss_bce": bce, "loss_dice": dice, "loss_mask": mask_part, "loss_teacher": teacher_part}
        if self.recipe.area_weight:
            parts["loss_area"] = area_loss(logits, masks)
            total = total + self.recipe.area_weight * parts["loss_area"].mean()
        means = {name: values.mean() for name, values in (parts | {"teacher_weight": weight}).items()}
        return Losses(total=total, parts=means)

    def _against(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The teacher's part of each sample, [b]. At temperature 1 it is the published one."""
        cooled = logits / self.distillation.temperature
        wanted = (teacher / self.distillation.temperature).sigmoid()
        mse = mse_loss(cooled, wanted)
        return mse if self.distillation.loss == "paper" else mse + dice_loss(cooled, wanted)

    def _weight_of(self, quality: Tensor, step: int) -> Tensor:
        """a of each sample, [b] in 0..1; 0 where the quality is no number: then there is no answer."""
        known = quality.isfinite()
        trust = known.float() if self.distillation.loss == "paper" else quality.where(known, 0).clamp(0, 1)
        return teacher_weight(step, self.recipe.steps, self.distillation) * trust


def teacher_weight(step: int, steps: int, settings: Distillation) -> float:
    """The scheduled weight of step ``step`` (0 to steps - 1): ``weight`` at the first, ``final_weight`` at the last."""
    if settings.final_weight is None:
        return settings.weight
    done = min(1.0, step / max(1, steps - 1))
    if settings.schedule == "cosine":
        done = (1 - math.cos(math.pi * done)) / 2
    return settings.weight + (settings.final_weight - settings.weight) * done
