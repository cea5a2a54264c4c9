"""Answers that need no network: of a box prompt, the whole box, and the ellipse that touches its sides.

A box says so much about its object that these already score well: on the COCO val subset (PicoSAM3's published windows) a
mIoU of 0.600 and 0.637, and a hit rate of 0.303 and 0.368. What a network adds is what it scores beyond them, so figures of
box prompts are printed beside these.
"""

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from shared.picosam import metrics
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.evaluate import BatchSink, EvaluationResult
from shared.picosam.prompt import INPUT_SIZE

Draw: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.int32], int], NDArray[np.bool_]]
"""(boxes [N, 4], windows [N, 4], size), boxes and windows as x0, y0, x1, y1 in image pixels, to masks bool [N, size, size]."""


def filled_box(boxes: NDArray[np.float64], windows: NDArray[np.int32], size: int = INPUT_SIZE) -> NDArray[np.bool_]:
    """The cells whose centre lies in the box: bool [N, size, size]. Arguments as of ``Draw``."""
    across, down = _centres(windows, size)
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.T)
    inside: NDArray[np.bool_] = ((y0 <= down) & (down < y1))[:, :, None] & ((x0 <= across) & (across < x1))[:, None, :]
    return inside


def ellipse(boxes: NDArray[np.float64], windows: NDArray[np.int32], size: int = INPUT_SIZE) -> NDArray[np.bool_]:
    """The cells whose centre lies in the ellipse that the box frames: bool [N, size, size]. Arguments as of ``Draw``."""
    across, down = _centres(windows, size)
    x0, y0, x1, y1 = (edge[:, None] for edge in boxes.T)
    x, y = ((2 * place - low - high) / (high - low) for place, low, high in ((across, x0, x1), (down, y0, y1)))
    inside: NDArray[np.bool_] = (y**2)[:, :, None] + (x**2)[:, None, :] <= 1
    return inside


BASELINES: Final[dict[str, Draw]] = {"filled_box": filled_box, "ellipse": ellipse}
"""By the name that results carry."""


def evaluate_baseline(
    draw: Draw, data: ShardReader, *, limit: int | None = None, batch_size: int = 64, sink: BatchSink | None = None
) -> EvaluationResult:
    """Scores ``draw`` over the first ``limit`` windows exactly as ``evaluate`` scores a network; its confidence is always 1.

    The box is the one that was asked with, jitter included. ``sink`` gets logits that are plus or minus infinity.
    ValueError for windows of points: they have no box.
    """
    if data.box is None:
        raise ValueError("these windows were asked for by points; a box can only be filled where the prompt is a box")
    if data.canvas != data.size:
        raise ValueError(f"evaluation needs windows without margin, these have {data.canvas} cells for {data.size}")
    count = len(data) if limit is None else min(limit, len(data))
    ious, areas, has_object = np.empty(count), np.empty(count), np.empty(count, np.bool_)
    for start in range(0, count, batch_size):
        rows = np.arange(start, min(start + batch_size, count))
        drawn = torch.from_numpy(draw(data.box[rows], data.window[rows], data.size))
        truth = torch.from_numpy(data.windows(rows)[1])
        ious[rows], has_object[rows] = metrics.iou(drawn, truth).numpy(), truth.flatten(1).any(dim=1).numpy()
        areas[rows] = drawn.flatten(1).double().mean(dim=1).numpy()
        if sink is not None:
            sink(rows, torch.where(drawn, torch.inf, -torch.inf).unsqueeze(1), truth.unsqueeze(1))
    sure = (areas > 0).astype(np.float64)
    return EvaluationResult(iou=ious, confidence=np.ones(count), has_object=has_object, soft_iou=sure, area=areas)


def _centres(windows: NDArray[np.int32], size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each window's cells, in image pixels: across and down, float64 [N, size] each."""
    steps = (np.arange(size) + 0.5) / size
    x0, y0, x1, y1 = (edge[:, None].astype(np.float64) for edge in windows.T)
    return x0 + steps * (x1 - x0), y0 + steps * (y1 - y0)
