"""Mask quality over windows on whatever device they are; the figures made of it, and their names, are those of ``figures``."""

import torch
from torch import Tensor

from shared.picosam.figures import (
    AREA_BANDS,
    HIT_THRESHOLDS,
    PUBLISHED,
    BandIou,
    Flags,
    Values,
    hit_rate_50_95,
    iou_by_area,
    metric_name,
    miou,
    miou_name,
    scores,
)

__all__ = [
    "AREA_BANDS",
    "HIT_THRESHOLDS",
    "PUBLISHED",
    "BandIou",
    "Flags",
    "Values",
    "confidence",
    "hit_rate_50_95",
    "iou",
    "iou_by_area",
    "metric_name",
    "miou",
    "miou_name",
    "predicted_masks",
    "scores",
]


def predicted_masks(logits: Tensor) -> Tensor:
    """bool of the logits' shape: probability above one half, and so logit above 0."""
    return logits > 0


def iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """IoU per sample, float64 [B] on the masks' device; 1 where the union is empty.

    predicted, truth: bool [B, ...] of one shape.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks differ in shape: {tuple(predicted.shape)} predicted, {tuple(truth.shape)} true")
    predicted, truth = predicted.flatten(1), truth.flatten(1)
    union = (predicted | truth).sum(dim=1)
    shared = (predicted & truth).sum(dim=1)
    return torch.where(union > 0, shared.double() / union.clamp(min=1), 1.0)


def confidence(logits: Tensor) -> Tensor:
    """How sure the network is of its mask, float64 [B] in 0..1: mean probability over the mask's cells; 0 of an empty mask.

    logits: float [B, 1, S, S]. It ranks detections for mask AP.
    """
    flat = logits.flatten(1).double()
    chosen = predicted_masks(flat)
    return (flat.sigmoid() * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
