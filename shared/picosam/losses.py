"""What the network is asked to make small."""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Losses:
    """Scalars, float32, means over the batch. ``total`` carries the gradient."""

    total: Tensor
    bce: Tensor
    dice: Tensor


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Soft Dice loss of each sample: float [B] in 0..1.

    logits, masks: float [B, 1, H, W], masks in 0..1. One pixel is added to both sides of the fraction, so that an empty
    mask met by an empty answer costs nothing and its gradient stays finite. Per sample, never over the batch: there a
    large object would drown a small one, and a split batch would give another loss.
    """
    answer = logits.sigmoid().flatten(1)
    truth = masks.flatten(1)
    overlap = (answer * truth).sum(1)
    return 1 - (2 * overlap + 1) / (answer.sum(1) + truth.sum(1) + 1)


def segmentation_loss(logits: Tensor, masks: Tensor, *, bce_weight: float, dice_weight: float) -> Losses:
    """Binary cross entropy over pixels plus Dice, both in float32 whatever the network computed in.

    logits, masks: [B, 1, H, W]. Means of equally weighted samples: the mean over two halves of a batch is the mean over
    the batch, so data-parallel training minimises the same function.
    """
    logits, masks = logits.float(), masks.float()
    bce = F.binary_cross_entropy_with_logits(logits, masks)
    dice = dice_loss(logits, masks).mean()
    return Losses(total=bce_weight * bce + dice_weight * dice, bce=bce, dice=dice)
