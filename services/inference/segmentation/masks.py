"""Masks in the network's cells to masks in the image, in the form that was asked for.

Only PNG needs the image's pixels: a cell is a rectangle of them, so areas, boxes, run lengths and outlines are worked out on
the cells, and cost the same in a large photo as in a small one.
"""

from base64 import b64encode
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from shared.contracts.segmentation import MaskOut, Output, View
from shared.picosam.prompt import MaskArray, Shape, Window, cell_edges, paste

# The processors are shared out to requests already.
cv2.setNumThreads(1)

# Of the settings that were tried the fastest by far on masks, and the file is no larger than the default's.
_PNG: Final = (cv2.IMWRITE_PNG_BILEVEL, 1, cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, 0)

Edges = NDArray[np.intp]
Box = tuple[int, int, int, int]
Rle = dict[str, Any]
"""As pycocotools has it: size, and counts in bytes."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A mask in cells, and where these lie: cell (r, c) fills rows[r]:rows[r + 1], columns[c]:columns[c + 1]."""

    cells: MaskArray
    rows: Edges
    columns: Edges
    shape: Shape
    """Of what the mask is a part of: height, width."""

    @property
    def area(self) -> int:
        """Pixels."""
        # In floating point, exact so far below 2**53: whole numbers are multiplied one by one.
        return int(np.diff(self.rows).astype(np.float64) @ (self.cells @ np.diff(self.columns).astype(np.float64)))

    @property
    def box(self) -> Box | None:
        """x0, y0, x1, y1 round the mask's pixels, tight; None if there are none."""
        seen = self.cells & (np.diff(self.rows) > 0)[:, None] & (np.diff(self.columns) > 0)[None, :]
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        if not rows.size:
            return None
        ends = self.columns[columns[0]], self.rows[rows[0]], self.columns[columns[-1] + 1], self.rows[rows[-1] + 1]
        x0, y0, x1, y1 = map(int, ends)
        return x0, y0, x1, y1

    def rle(self) -> Rle:
        """COCO's run lengths: column by column, beginning with what is no object."""
        height, width = self.shape
        inside = self.cells.repeat(np.diff(self.columns), axis=1).T
        turns = np.diff(inside, axis=1, prepend=False, append=False)
        column, edge = np.nonzero(turns)
        positions = (column + self.columns[0]) * height + self.rows[edge]
        # A run that ends where the next one begins, or that lies in dropped cells, is no turn.
        turning, times = np.unique(positions, return_counts=True)
        turning = turning[(times % 2 == 1) & (turning < height * width)]
        counts = np.diff(turning, prepend=0, append=height * width)
        rle: Rle = coco.frPyObjects({"size": [height, width], "counts": counts.tolist()}, height, width)
        return rle

    def polygons(self) -> list[list[float]]:
        """Rings round the pixels, along their edges: a pixel (x, y) is the square from (x, y) to (x + 1, y + 1).

        Filled by the even-odd rule they are the mask again. Rings of holes run the other way.
        """
        # OpenCV's contours run through the middles of pixels. With each cell doubled, odd and even ones lie on either side
        # of an edge, and half of each, rounded up, is the edge.
        doubled = self.cells.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
        contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        rings = (self._ring(((contour[:, 0] + 1) // 2).astype(np.intp)) for contour in contours)
        return [ring for ring in rings if ring]

    def _ring(self, corners: NDArray[np.intp]) -> list[float]:
        points = np.stack([self.columns[corners[:, 0]], self.rows[corners[:, 1]]], axis=1)
        while True:
            points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]
            # Corners alone: where the way before and the way after lie in one line, the point says nothing.
            before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
            is_corner = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
            if is_corner.all():
                break
            # Again, since without the tip of a thorn, which dropped cells leave behind, its two sides are one place.
            points = points[is_corner]
        ring: list[float] = points.astype(float).ravel().tolist()
        return ring


def placed(cells: MaskArray, window: Window, shape: Shape) -> Placed:
    """The window's mask in the image of this shape, exactly where ``paste`` puts it."""
    return Placed(cells, *cell_edges(window, shape, len(cells)), shape)


def in_cells(cells: MaskArray) -> Placed:
    """The mask alone, one pixel per cell."""
    steps = np.arange(len(cells) + 1)
    return Placed(cells, steps, steps, (len(cells), len(cells)))


def encode(logits: NDArray[np.float32], window: Window, spot: Placed, output: Output, view: View) -> MaskOut:
    """One mask of which at least one cell is above 0; ``spot`` is its place in the image."""
    if view is View.WINDOW:
        spot = in_cells(spot.cells)
    match output:
        case Output.LOGITS:
            text = b64encode(logits.astype("<f4").tobytes()).decode()
            return MaskOut(format=output, size=in_cells(spot.cells).shape, logits=text)
        case Output.PNG:
            picture = paste(spot.cells, window, spot.shape) if view is View.IMAGE else spot.cells
            return MaskOut(format=output, size=spot.shape, png=b64encode(_png(picture)).decode())
        case Output.RLE:
            return MaskOut(format=output, size=spot.shape, counts=spot.rle()["counts"].decode())
        case Output.POLYGONS:
            return MaskOut(format=output, size=spot.shape, polygons=spot.polygons())


def _png(mask: MaskArray) -> bytes:
    _, content = cv2.imencode(".png", mask.view(np.uint8), _PNG)
    return bytes(content)
