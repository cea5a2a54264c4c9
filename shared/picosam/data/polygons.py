"""Which polygons can be trusted.

**Self-crossing.** A ring that crosses itself leaves open what is inside: even-odd and non-zero filling differ, or lobes run
against each other, as in a bow tie. But hand-drawn outlines touch themselves now and then without harm, and a strict test
would drop real objects: of the 4,419 rings of the real COCO 2017 subset that this project is tested with, shapely calls 19
invalid (7 touch themselves in a point, 12 cross by a sliver), and at most 0.0007 % of such a ring's area is in doubt. So a
ring is bad if more than 1 % of what it fills is not enclosed exactly once in the ring's own direction; one that shapely
calls invalid and that stays below is kept and counted as a warning. In a bow tie up to 50 % is in doubt, in a pentagram 31
%, in a loop walked twice 100 %.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely
from numpy.typing import NDArray

from shared.picosam.data.rle import MaskProblem, Shape

MAX_DOUBTFUL_SHARE: Final = 0.01
"""Of the filled area. More than a thousand times what real outlines show, a fiftieth of a bow tie."""

MAX_POINTS: Final = 20_000
"""In one ring. COCO's longest have some hundreds; the limit bounds the work that a hostile file can cause."""

_SCAN_LINES: Final = 509
"""Prime, so that the lines do not fall into step with whole-pixel coordinates."""


def checked_rings(rings: Sequence[Sequence[float]], shape: Shape) -> tuple[str, ...]:
    """Raises ``MaskProblem`` for a polygon that cannot be used; returns the warnings about one that can."""
    if not rings:
        raise MaskProblem("empty_polygon", "segmentation without a polygon")
    warnings = {warning for ring in rings for warning in _checked(_points(ring), shape)}
    return tuple(sorted(warnings))


def doubtful_share(ring: NDArray[np.float64]) -> float:
    """The share, 0..1, of a ring's filled area that it does not enclose exactly once in its own direction.

    ring: float [N, 2]. Exact across, sampled by scan lines down: good to about a percent of the share itself.
    """
    low, high = ring[:, 1].min(), ring[:, 1].max()
    lines = low + (np.arange(_SCAN_LINES) + 0.5) * (high - low) / _SCAN_LINES
    line, x, turn = _crossings(ring, lines)
    winding = np.cumsum(turn)  # every line's turns add up to 0, so one running sum serves all lines
    widths = np.diff(x, append=x[-1:])
    widths[np.diff(line, append=-1) != 0] = 0.0
    filled = float(widths[winding != 0].sum())
    clean = max(float(widths[winding == 1].sum()), float(widths[winding == -1].sum()))
    return 1 - clean / filled if filled > 0 else 1.0


def _crossings(
    ring: NDArray[np.float64], lines: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Where edges cross scan lines: line number, x and direction (+1 up, -1 down), sorted by line and x."""
    start, end = ring, np.roll(ring, -1, axis=0)
    first = np.searchsorted(lines, np.minimum(start[:, 1], end[:, 1]))
    count = np.searchsorted(lines, np.maximum(start[:, 1], end[:, 1])) - first
    edge = np.repeat(np.arange(len(ring)), count)
    line = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    (x0, y0), (x1, y1) = start[edge].T, end[edge].T
    x = x0 + (lines[line] - y0) / (y1 - y0) * (x1 - x0)
    order = np.lexsort((x, line))
    return line[order], x[order], np.where(y1 > y0, 1, -1)[order]


def _points(ring: Sequence[float]) -> NDArray[np.float64]:
    if len(ring) % 2:
        raise MaskProblem("malformed_polygon", f"polygon with {len(ring)} numbers; x and y alternate")
    points = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
    if len(np.unique(points, axis=0)) < 3:
        raise MaskProblem("empty_polygon", "polygon with fewer than three different points")
    if len(points) > MAX_POINTS:
        raise MaskProblem("malformed_polygon", f"polygon with {len(points):,} points; at most {MAX_POINTS:,} are read")
    return points


def _checked(points: NDArray[np.float64], shape: Shape) -> list[str]:
    """Warnings about one ring; ``MaskProblem`` if it is bad."""
    height, width = shape
    extent = np.array([width, height])
    if (points < -extent).any() or (points > 2 * extent).any():
        raise MaskProblem(
            "polygon_outside", f"polygon lies further outside the {width} x {height} image than the image is large"
        )
    warnings = ["polygon_cut"] if (points < -1).any() or (points > extent + 1).any() else []
    if not shapely.is_valid(shapely.Polygon(points)):
        if (share := doubtful_share(points)) > MAX_DOUBTFUL_SHARE:
            raise MaskProblem("self_crossing_polygon", f"polygon crosses itself; {share:.1%} of its area is in doubt")
        warnings.append("polygon_touches_itself")
    return warnings
