"""How far masks agree."""

import numpy as np
from numpy.typing import NDArray


def ious(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mask by mask, bool [N, S, S] each; 1 where both are empty."""
    shared = (first & second).sum(axis=(1, 2))
    union = (first | second).sum(axis=(1, 2))
    return np.where(union > 0, shared / np.maximum(union, 1), 1.0).astype(np.float64)
