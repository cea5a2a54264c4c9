"""Prompts that are off: how good is a network whose user, or detector, does not point exactly?

numpy alone, like ``prompt``. Units and coordinates are those of ``prompt``.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.picosam.prompt import Box, Pixel, Shape

_STREAM: Final = 3
"""``augment`` has the streams 1 and 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptJitter:
    """Moves prompts by up to ``share`` of their object's box, each side of a box by itself.

    What an annotation's prompt is moved by is a function of ``seed`` and the annotation's id, times ``share``: the same
    prompts are moved in the same direction, only farther, when the share grows, so a curve over shares compares like with like.
    """

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share must be in 0..1, got {self.share}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be in 0..2**32-1, got {self.seed}")

    def described(self) -> dict[str, object]:
        """All that decides the moves, as JSON."""
        return {"share": self.share, "seed": self.seed}

    def box(self, box: Box, shape: Shape, annotation_id: int) -> Box:
        """``box`` with each edge moved by uniform +-share of the side it ends, inside the image and at least a pixel wide."""
        if self.share == 0:
            return box
        left, top, right, bottom = self._moves(annotation_id)
        width, height = box[2] - box[0], box[3] - box[1]
        x0, x1 = _span(box[0] + left * width, box[2] + right * width, shape[1])
        y0, y1 = _span(box[1] + top * height, box[3] + bottom * height, shape[0])
        return x0, y0, x1, y1

    def point(self, point: Pixel, box: Box, shape: Shape, annotation_id: int) -> Pixel:
        """``point`` moved by uniform +-share of its object's ``box`` across and down, kept in the image.

        It may leave the object: it is not snapped back, as a finger is not.
        """
        across, down, *_ = self._moves(annotation_id)
        x, y = point[0] + across * (box[2] - box[0]), point[1] + down * (box[3] - box[1])
        return min(max(0, round(x)), shape[1] - 1), min(max(0, round(y)), shape[0] - 1)

    def _moves(self, annotation_id: int) -> tuple[float, ...]:
        """Four numbers in -share..share."""
        # A counter-based generator: any annotation can be drawn first. numpy would make floats of a list of large integers.
        counter = np.array([0, annotation_id % 2**64, 0, 0], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=[self.seed, _STREAM], counter=counter))
        uniform: NDArray[np.float64] = generator.uniform(-1, 1, 4) * self.share
        return tuple(uniform.tolist())


def _span(start: float, end: float, length: int) -> tuple[float, float]:
    """In order, inside 0..length, and no shorter than a pixel: two edges moved far enough pass each other."""
    start, end = max(0.0, min(start, end)), min(float(length), max(start, end))
    if end - start >= 1:
        return start, end
    middle = min(max((start + end) / 2, 0.5), length - 0.5)  # of a box that was pushed out, the pixel at the edge stays
    return middle - 0.5, middle + 0.5
