"""What the network is asked to make small."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import torch.nn.functional as F
from torch import Tensor

LEAST_AREA: Final = 0.4
"""Of the true area: PicoSAM3's area loss asks for no more."""


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars, float32, means over the batch. ``total`` carries the gradient."""

    total: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """What the total is made of, under the names of the metrics: loss_bce, loss_dice, ... The same names in every step."""


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Soft Dice loss of each sample: float [B] in 0..1.

    logits, masks: float [B, 1, H, W], masks in 0..1, soft ones too. One pixel is added to both sides of the fraction, so that
    an empty mask met by an empty answer costs nothing and its gradient stays finite. Per sample, never over the batch: there
    a large object would drown a small one, and a split batch would give another loss.
    """
    answer = logits.sigmoid().flatten(1)
    truth = masks.flatten(1)
    overlap = (answer * truth).sum(1)
    return 1 - (2 * overlap + 1) / (answer.sum(1) + truth.sum(1) + 1)


def bce_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy of each sample, mean over its pixels: float [B], in nats."""
    return F.binary_cross_entropy_with_logits(logits, masks, reduction="none").flatten(1).mean(1)


def mse_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Mean squared difference of each sample's probabilities: float [B] in 0..1. Both [B, 1, H, W], the first as logits."""
    return (logits.sigmoid() - probabilities).square().flatten(1).mean(1)


def area_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """PicoSAM3's loss of each sample, relu(0.4 - predicted area / true area): float [B] in 0..0.4.

    The predicted area is the sum of probabilities. An answer to a small object must not shrink away; a sample without any
    object costs nothing.
    """
    answer, truth = logits.sigmoid().flatten(1).sum(1), masks.flatten(1).sum(1)
    return F.relu(LEAST_AREA - answer / truth.clamp(min=1)) * (truth > 0)


def segmentation_loss(
    logits: Tensor, masks: Tensor, *, bce_weight: float, dice_weight: float, area_weight: float = 0.0
) -> Losses:
    """Binary cross entropy over pixels plus Dice (plus the area loss), in float32 whatever the network computed in.

    logits, masks: [B, 1, H, W]. Means of equally weighted samples: the mean over two halves of a batch is the mean over
    the batch, so data-parallel training minimises the same function.
    """
    logits, masks = logits.float(), masks.float()
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    dice = dice_loss(logits, masks).mean()
    total, parts = bce_weight * bce + dice_weight * dice, {"loss_bce": bce, "loss_dice": dice}
    if area_weight:
        parts["loss_area"] = area_loss(logits, masks).mean()
        total = total + area_weight * parts["loss_area"]
    return Losses(total=total, parts=parts)
