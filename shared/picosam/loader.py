"""Batches of augmented windows, made ahead of time in a thread. The position is the step number: nothing to save."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shared.contracts.training import Recipe
from shared.picosam.augment import augment, canvas_for, epoch_order

INPUT_SIZE: Final = 96
"""Model pixels per side."""

_AHEAD: Final = 4
"""Batches kept ready. Making one takes a few milliseconds, a step over a hundred: more would only be memory."""


class Windows(Protocol):
    """Prepared windows, as ``data.shards.ShardReader`` gives them."""

    @property
    def canvas(self) -> int:
        """Pixels per side."""

    def __len__(self) -> int: ...

    def windows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Images uint8 [B, S, S, 3] RGB and masks bool [B, S, S]."""


class Pool:
    """Several sets of windows drawn from as one."""

    def __init__(self, parts: Sequence[Windows]) -> None:
        """All parts need the same canvas; ValueError names those that differ."""
        canvases = {part.canvas for part in parts}
        if len(canvases) != 1:
            raise ValueError(f"windows of one training need one canvas, got {sorted(canvases)}")
        self.canvas = canvases.pop()
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def windows(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Images and masks in the order asked for."""
        images = np.empty((len(indices), self.canvas, self.canvas, 3), np.uint8)
        masks = np.empty((len(indices), self.canvas, self.canvas), np.bool_)
        owner = np.searchsorted(self._ends, indices, side="right")
        for number in np.unique(owner):
            rows = np.flatnonzero(owner == number)
            start = self._ends[number] - len(self._parts[number])
            images[rows], masks[rows] = self._parts[number].windows(indices[rows] - start)
        return images, masks


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process sees in one step."""

    numbers: NDArray[np.int64]
    """Sample numbers since the start of training, [b]."""
    images: Tensor
    """uint8 [b, 3, 96, 96], stored channels-last."""
    masks: Tensor
    """uint8 0 or 1, [b, 1, 96, 96]."""


def sample_numbers(step: int, batch_size: int, *, rank: int = 0, world: int = 1) -> NDArray[np.int64]:
    """The samples that process ``rank`` of ``world`` draws in step ``step`` (from 0 on); all ranks together: the batch."""
    share = batch_size // world
    first = step * batch_size + rank * share
    return np.arange(first, first + share)


def windows_of(numbers: NDArray[np.int64], *, seed: int, count: int) -> NDArray[np.int64]:
    """Which of ``count`` windows each sample is: every epoch visits each window once, in an order of its own."""
    epochs = numbers // count
    orders = {int(epoch): epoch_order(seed, int(epoch), count) for epoch in np.unique(epochs)}
    return np.array([orders[int(epoch)][number % count] for epoch, number in zip(epochs, numbers, strict=True)], np.int64)


def make_batch(data: Windows, recipe: Recipe, numbers: NDArray[np.int64]) -> Batch:
    """The batch of the samples ``numbers``: a pure function of data, recipe and numbers."""
    images, masks = data.windows(windows_of(numbers, seed=recipe.seed, count=len(data)))
    seen, truth = augment(images, masks, numbers, seed=recipe.seed, settings=recipe.augmentation, size=INPUT_SIZE)
    # A transposed view of [B, H, W, C] is a channels-last tensor: no copy.
    return Batch(numbers=numbers, images=torch.from_numpy(seen).permute(0, 3, 1, 2), masks=torch.from_numpy(truth).unsqueeze(1))


class Loader:
    """Iterates over the batches of the steps ``first_step`` to ``recipe.steps``, prepared ahead in one thread.

    Use as a context manager: leaving it ends the thread. An error while loading is raised where the batch is asked for.
    """

    def __init__(self, data: Windows, recipe: Recipe, *, first_step: int = 0, rank: int = 0, world: int = 1) -> None:
        """ValueError if the windows' margin is too small for the augmentation, or the batch cannot be shared out."""
        _check(data, recipe, world)
        self._data, self._recipe = data, recipe
        self._steps = range(first_step, recipe.steps)
        self._rank, self._world = rank, world
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(_AHEAD)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="window-loader", daemon=True)
        self.waited_s = 0.0
        """Seconds that the iterating thread has spent waiting for a batch."""

    def __enter__(self) -> "Loader":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._closing.set()
        while not self._ready.empty():
            self._ready.get_nowait()  # wakes a thread that waits for room
        self._thread.join()

    def __iter__(self) -> Iterator[Batch]:
        for _ in self._steps:
            asked = time.perf_counter()
            item = self._ready.get()
            self.waited_s += time.perf_counter() - asked
            if isinstance(item, BaseException):
                raise item
            yield item

    def _fill(self) -> None:
        try:
            for step in self._steps:
                numbers = sample_numbers(step, self._recipe.batch_size, rank=self._rank, world=self._world)
                self._hand_over(make_batch(self._data, self._recipe, numbers))
                if self._closing.is_set():
                    return
        except Exception as error:
            self._hand_over(error)

    def _hand_over(self, item: Batch | BaseException) -> None:
        while not self._closing.is_set():
            try:
                return self._ready.put(item, timeout=0.2)
            except queue.Full:
                continue


def _check(data: Windows, recipe: Recipe, world: int) -> None:
    needed = canvas_for(recipe.augmentation, INPUT_SIZE)
    if data.canvas < needed:
        raise ValueError(f"the augmentation looks {needed} pixels wide, the windows have {data.canvas}; prepare wider ones")
    if recipe.batch_size % world:
        raise ValueError(f"batch_size {recipe.batch_size} cannot be shared by {world} processes; choose a multiple")
    if not len(data):
        raise ValueError("there are no windows to train on")
