"""Scores a network over prepared windows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from shared.picosam import metrics
from shared.picosam.confidence import soft_iou
from shared.picosam.loader import INPUT_SIZE, Windows
from shared.picosam.placement import Placement

BatchSink: TypeAlias = Callable[[NDArray[np.int64], Tensor, Tensor], None]
"""Gets (row numbers [b], logits float32 [b, 1, 96, 96], truth bool [b, 1, 96, 96]) of each batch, on the CPU, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """One value per window, in the windows' order: float64 or bool [N]."""

    iou: NDArray[np.float64]
    confidence: NDArray[np.float64]
    """Mean probability over the predicted mask; ranks detections."""
    has_object: NDArray[np.bool_]
    """False where the truth is empty."""
    soft_iou: NDArray[np.float64]
    """Of the predicted mask's probabilities; calibrated, it is the IoU to expect. 0 of an empty mask."""
    area: NDArray[np.float64]
    """Cells of the predicted mask / cells of the window."""

    def __len__(self) -> int:
        return len(self.iou)

    @property
    def miou(self) -> float:
        """Mean IoU over the windows."""
        return metrics.miou(self.iou)


def evaluate(
    model: nn.Module,
    data: Windows,
    placement: Placement,
    *,
    limit: int | None = None,
    batch_size: int = 16,
    sink: BatchSink | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> EvaluationResult:
    """The first ``limit`` windows of ``data`` (canvas 96) through ``model``, always in float32.

    Float32 even where training runs in bfloat16: these figures are compared with those of the exported network. The model is
    evaluated in evaluation mode and left in the mode it was in. Raises Stopped when asked to stop between two batches.
    Sixteen windows at a time fit into the memory that a training step has freed, and larger batches are no faster on a CPU:
    with 64 a training process of batch 32 grew from 1.2 to 2.3 GB.
    """
    if data.canvas != INPUT_SIZE:
        raise ValueError(f"evaluation needs windows of {INPUT_SIZE} pixels without margin, these have {data.canvas}")
    count = len(data) if limit is None else min(limit, len(data))
    found = _blank(count)
    was_training = model.training
    try:
        for rows in _batches(count, batch_size):
            if stop_requested():
                raise Stopped
            logits, truth = _answer(model.eval(), data, placement, rows)
            _score(found, rows, logits, truth)
            if sink is not None:
                sink(rows, logits, truth)
    finally:
        model.train(was_training)
    return found


class Stopped(Exception):
    """An evaluation was asked to stop before its end."""


@torch.inference_mode()
def _answer(model: nn.Module, data: Windows, placement: Placement, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    images, masks = data.windows(rows)
    logits = model(placement.inputs(torch.from_numpy(images).permute(0, 3, 1, 2)))
    return logits.float().cpu(), torch.from_numpy(masks).unsqueeze(1)


def _blank(count: int) -> EvaluationResult:
    iou, confidence, soft, area = np.zeros((4, count))
    return EvaluationResult(iou=iou, confidence=confidence, has_object=np.zeros(count, np.bool_), soft_iou=soft, area=area)


def _score(found: EvaluationResult, rows: NDArray[np.int64], logits: Tensor, truth: Tensor) -> None:
    masks = metrics.predicted_masks(logits)
    found.iou[rows] = metrics.iou(masks, truth).numpy()
    found.confidence[rows] = metrics.confidence(logits).numpy()
    found.has_object[rows] = truth.flatten(1).any(dim=1).numpy()
    found.soft_iou[rows] = soft_iou(logits.numpy())
    found.area[rows] = masks.flatten(1).double().mean(dim=1).numpy()


def _batches(count: int, size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
