"""What a mask's probabilities say about its IoU. numpy alone: serving and evaluation run this code.

The mean probability inside a mask is no confidence: 0.78 on average where the true IoU is 0.42. The soft IoU also counts what
the network thinks possible outside, and a curve fitted on validation windows makes it the IoU to expect.
"""

import numpy as np
from numpy.typing import NDArray

from shared.contracts.serving import Calibration


def soft_iou(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [N] of logits [N, ...]: sum of p inside the mask / (its cells + sum of p outside); 0 of an empty mask.

    It would be the expected overlap over the expected union if cells were independent and the probabilities right.
    """
    flat = logits.reshape(len(logits), -1)
    masks = flat > 0
    # exp of minus the magnitude cannot overflow; of the other side's probability it is one minus this.
    small = np.exp(-np.abs(flat))
    likely = 1 / (1 + small)
    inside = np.where(masks, likely, 0).sum(axis=1, dtype=np.float64)
    outside = np.where(masks, 0, 1 - likely).sum(axis=1, dtype=np.float64)
    cells = masks.sum(axis=1)
    found: NDArray[np.float64] = np.where(cells > 0, inside / np.maximum(cells + outside, 1), 0.0)
    return found


def expected_iou(soft: NDArray[np.float64], calibration: Calibration | None) -> NDArray[np.float64]:
    """The IoU to expect, float64 like ``soft``; ``soft`` itself without a calibration. An empty mask keeps its 0."""
    if calibration is None:
        return soft
    curve = np.interp(soft, calibration.soft_iou, calibration.expected_iou)
    found: NDArray[np.float64] = np.where(soft > 0, curve, 0.0)
    return found
