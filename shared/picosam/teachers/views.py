"""What a teacher sees of prepared windows, and how its answers come back onto their canvas."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.contracts.distillation import TeacherView
from shared.contracts.windows import Border
from shared.picosam.data import rle
from shared.picosam.data.errors import DatasetChanged
from shared.picosam.data.manifest import ImageRow, read_rows
from shared.picosam.data.ordered import never, ordered_map
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, load_image, resampled, stored_window
from shared.picosam.prompt import Window
from shared.picosam.teachers.base import OUTSIDE_LOGIT, View

LARGEST: Final = 1024
"""Pixels of a context view: larger windows are made smaller, as SAM would."""

ImageArray: TypeAlias = NDArray[np.uint8]


class DatasetImages:
    """The images of a split by their id, read when they are asked for."""

    def __init__(self, manifest: Path, root: Path, split: str) -> None:
        self._root = root.resolve()
        # Without the masks, which would be most of the memory.
        self._rows = {row.image_id: msgspec.structs.replace(row, instances=()) for row in read_rows(manifest, split)}

    def __call__(self, image_id: int) -> ImageArray:
        """uint8 [H, W, 3]. DatasetGone or DatasetChanged if it is not as it was imported."""
        return load_image(self._root, self._row(image_id))

    def _row(self, image_id: int) -> ImageRow:
        if image_id not in self._rows:
            raise DatasetChanged(f"image {image_id} of the prepared windows is not in the dataset's manifest")
        return self._rows[image_id]


@dataclass(frozen=True, slots=True)
class Question:
    """A view, the windows that its prompts belong to, and which part of their image it shows."""

    rows: NDArray[np.int64]
    view: View
    frame: Window


class Questions:
    """Prepared windows as views: one by one, or all of an image together where the teacher sees the whole image."""

    def __init__(
        self,
        windows: ShardReader,
        policy: ShardPolicy,
        view: TeacherView,
        *,
        context_side: int = 256,
        images: Callable[[int], ImageArray] | None = None,
    ) -> None:
        """images: pixels by image id, for the views that show more than the windows do. ValueError if they are missing then."""
        if view is not TeacherView.WINDOW and images is None:
            raise ValueError(f"the teacher's view {view} needs the images, not the prepared windows alone")
        self._windows, self._policy, self._view = windows, policy, view
        self._context_side, self._images = context_side, images

    def ask(self, start: int = 0, *, ahead: int = 2, stop: Callable[[], bool] = never) -> Iterator[Question]:
        """The questions about the windows from ``start`` on, in order; up to ``ahead`` are read before they are asked for."""
        rows = range(start, len(self._windows))
        with ThreadPoolExecutor(min(4, ahead)) as executor:
            yield from ordered_map(executor, self._question, self._groups(rows), ahead=ahead, stop=stop)

    def onto_canvas(self, logits: NDArray[np.float32], question: Question) -> NDArray[np.float32]:
        """Answers [P, h, w] over the view as [P, S, S] on the canvas of the question's windows.

        Outside the view and outside the image there is certainly no object: ``OUTSIDE_LOGIT``.
        """
        canvas = self._windows.canvas
        found = np.empty((len(logits), canvas, canvas), dtype=np.float32)
        for place, (row, answer) in enumerate(zip(question.rows, logits, strict=True)):
            height, width = (int(side) for side in self._windows.image_shape[row])
            stored = self._stored(int(row))
            across = _axis((stored.x0, stored.x1), (question.frame.x0, question.frame.x1), canvas, answer.shape[1], width)
            down = _axis((stored.y0, stored.y1), (question.frame.y0, question.frame.y1), canvas, answer.shape[0], height)
            found[place] = _resampled(answer, down, across)
        return found

    def _groups(self, rows: range) -> Iterator[NDArray[np.int64]]:
        if self._view is TeacherView.IMAGE:
            for _, group in groupby(rows, lambda row: self._windows.image_id[row]):
                yield np.fromiter(group, dtype=np.int64)
        else:
            yield from (np.array([row], dtype=np.int64) for row in rows)

    def _question(self, rows: NDArray[np.int64]) -> Question:
        image, frame = self._picture(int(rows[0]))
        height, width = image.shape[:2]
        scale = width / frame.width, height / frame.height
        corner = np.array([frame.x0, frame.y0])
        boxes = np.stack([self._box(int(row)) for row in rows])
        view = View(
            image=image,
            points=((self._windows.point[rows] + 0.5 - corner) * scale).astype(np.float32),
            boxes=((boxes - np.tile(corner, 2)) * (*scale, *scale)).astype(np.float32),
            prompt=self._policy.window.prompt,
            scale=scale,
            image_width=int(self._windows.image_shape[rows[0], 1]),
        )
        return Question(rows, view, frame)

    def _picture(self, row: int) -> tuple[ImageArray, Window]:
        """The view's pixels, and where they are in the image."""
        stored = self._stored(row)
        if self._view is TeacherView.WINDOW or self._images is None:
            return self._windows.windows([row])[0][0], stored
        image = self._images(int(self._windows.image_id[row]))
        height, width = image.shape[:2]
        if (height, width) != tuple(self._windows.image_shape[row]):
            raise DatasetChanged(f"image {self._windows.image_id[row]} is {width} x {height} pixels, not as it was prepared")
        if self._view is TeacherView.IMAGE:
            return image, _frame(0, 0, width, height)
        frame = _around(stored, self._context_side)
        return resampled(Image.fromarray(image), frame, min(frame.width, LARGEST)), frame

    def _box(self, row: int) -> NDArray[np.float64]:
        """x0, y0, x1, y1 in image pixels: as asked with, else round the mask."""
        if self._windows.box is not None:
            asked: NDArray[np.float64] = self._windows.box[row]
            return asked
        x, y, width, height = rle.tight_box(self._windows.truth(row))
        return np.array([x, y, x + width, y + height])

    def _stored(self, row: int) -> Window:
        return stored_window(_frame(*(int(edge) for edge in self._windows.window[row])), self._policy)


def _frame(x0: int, y0: int, x1: int, y1: int) -> Window:
    return Window(x0=x0, y0=y0, x1=x1, y1=y1, border=Border.PAD, clipped=False)


def _around(stored: Window, side: int) -> Window:
    """The square of ``side`` image pixels about the middle of a stored window, or the larger one that covers it."""
    side = max(side, stored.width, stored.height)
    x0, y0 = (stored.x0 + stored.x1 - side) // 2, (stored.y0 + stored.y1 - side) // 2
    return _frame(x0, y0, x0 + side, y0 + side)


@dataclass(frozen=True, slots=True)
class _Axis:
    """For each cell of a canvas the two neighbours in an answer, the share of the second, and whether it was asked about."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    share: NDArray[np.float32]
    known: NDArray[np.bool_]


def _axis(stored: tuple[int, int], frame: tuple[int, int], canvas: int, cells: int, length: int) -> _Axis:
    """stored, frame: from and to in image pixels; cells: of the answer along this axis; length: of the image."""
    middles = stored[0] + (np.arange(canvas) + 0.5) * (stored[1] - stored[0]) / canvas
    known = (middles >= max(0, frame[0])) & (middles < min(length, frame[1]))
    places = ((middles - frame[0]) * cells / (frame[1] - frame[0]) - 0.5).clip(0, cells - 1)
    first = np.floor(places).astype(np.intp)
    return _Axis(first, np.minimum(first + 1, cells - 1), (places - first).astype(np.float32), known)


def _resampled(answer: NDArray[np.float32], down: _Axis, across: _Axis) -> NDArray[np.float32]:
    """Bilinear, half-pixel centres, edges held: what resizing the answer to the image and cutting the canvas would give."""
    rows = answer[down.first] + (answer[down.second] - answer[down.first]) * down.share[:, None]
    cells = rows[:, across.first] + (rows[:, across.second] - rows[:, across.first]) * across.share
    known = down.known[:, None] & across.known
    return np.where(known, cells, np.float32(OUTSIDE_LOGIT))
