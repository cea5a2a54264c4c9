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
from shared.picosam.augment import augment, augment_answers, canvas_for, epoch_order

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


class Answers(Protocol):
    """A teacher's answers to windows, in the windows' order."""

    def __len__(self) -> int: ...

    def answers(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Logits float16 [B, S, S] over the windows' canvas, and the quality of each answer (an IoU), float32 [B].

        A quality that is no number says that there is no answer.
        """


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
        for number, rows, own in _by_part(self._ends, indices):
            images[rows], masks[rows] = self._parts[number].windows(own)
        return images, masks


class AnswerPool:
    """The answers to a pool's windows: a set for each of its sets, in the same order."""

    def __init__(self, parts: Sequence[Answers]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def answers(self, indices: NDArray[np.int64]) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Logits and qualities in the order asked for."""
        logits, quality = np.empty(0, np.float16), np.empty(len(indices), np.float32)
        for number, rows, own in _by_part(self._ends, indices):
            found, quality[rows] = self._parts[number].answers(own)
            if not logits.size:
                logits = np.empty((len(indices), *found.shape[1:]), np.float16)
            logits[rows] = found
        return logits, quality


def _by_part(ends: NDArray[np.int64], indices: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
    """Of each part that holds some of ``indices``: its number, their places in ``indices``, and their places in the part."""
    owner = np.searchsorted(ends, indices, side="right")
    for number in np.unique(owner).tolist():
        rows = np.flatnonzero(owner == number)
        start = ends[number - 1] if number else 0
        yield number, rows, indices[rows] - start


@dataclass(frozen=True, slots=True)
class Taught:
    """A teacher's word on a batch."""

    logits: Tensor
    """float32 [b, 1, 96, 96], all finite."""
    quality: Tensor
    """float32 [b]: the IoU that the teacher expects or has reached; NaN: it gave no answer, and its logits are 0."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one process sees in one step."""

    numbers: NDArray[np.int64]
    """Sample numbers since the start of training, [b]."""
    images: Tensor
    """uint8 [b, 3, 96, 96], stored channels-last."""
    masks: Tensor
    """uint8 0 or 1, [b, 1, 96, 96]."""
    answers: Taught | None = None
    """None where there is no teacher."""

    def to(self, device: torch.device) -> "Batch":
        """The batch with masks and answers on ``device``; the images follow through ``Placement.inputs``."""
        masks, answers = self.masks.to(device, non_blocking=True), self.answers
        if answers is not None:
            logits = answers.logits.to(device, non_blocking=True)
            answers = Taught(logits=logits, quality=answers.quality.to(device, non_blocking=True))
        return Batch(numbers=self.numbers, images=self.images, masks=masks, answers=answers)


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


def make_batch(data: Windows, recipe: Recipe, numbers: NDArray[np.int64], answers: Answers | None = None) -> Batch:
    """The batch of the samples ``numbers``: a pure function of data, recipe, numbers and the teacher's answers."""
    chosen = windows_of(numbers, seed=recipe.seed, count=len(data))
    images, masks = data.windows(chosen)
    seen, truth = augment(images, masks, numbers, seed=recipe.seed, settings=recipe.augmentation, size=INPUT_SIZE)
    return Batch(
        numbers=numbers,
        images=torch.from_numpy(seen).permute(0, 3, 1, 2),  # of [B, H, W, C] a channels-last tensor: no copy
        masks=torch.from_numpy(truth).unsqueeze(1),
        answers=None if answers is None else _taught(*answers.answers(chosen), numbers, recipe),
    )


def _taught(logits: NDArray[np.float16], quality: NDArray[np.float32], numbers: NDArray[np.int64], recipe: Recipe) -> Taught:
    seen = augment_answers(logits, numbers, seed=recipe.seed, settings=recipe.augmentation, size=INPUT_SIZE)
    known = np.isfinite(quality) & np.isfinite(seen).all(axis=(1, 2))
    # Weighing a number that is none by 0 would still spoil the whole batch.
    seen[~known] = 0
    quality = np.where(known, quality, np.float32(np.nan))
    return Taught(logits=torch.from_numpy(seen).unsqueeze(1), quality=torch.from_numpy(quality))


class Loader:
    """Iterates over the batches of the steps ``first_step`` to ``recipe.steps``, prepared ahead in one thread.

    Use as a context manager: leaving it ends the thread. An error while loading is raised where the batch is asked for.
    """

    def __init__(
        self,
        data: Windows,
        recipe: Recipe,
        *,
        answers: Answers | None = None,
        first_step: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """ValueError if the windows' margin is too small for the augmentation, the batch cannot be shared out, or the
        answers belong to other windows."""
        _check(data, recipe, world, answers)
        self._data, self._recipe, self._answers = data, recipe, answers
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
                self._hand_over(make_batch(self._data, self._recipe, numbers, self._answers))
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


def _check(data: Windows, recipe: Recipe, world: int, answers: Answers | None) -> None:
    needed = canvas_for(recipe.augmentation, INPUT_SIZE)
    if data.canvas < needed:
        raise ValueError(f"the augmentation looks {needed} pixels wide, the windows have {data.canvas}; prepare wider ones")
    if recipe.batch_size % world:
        raise ValueError(f"batch_size {recipe.batch_size} cannot be shared by {world} processes; choose a multiple")
    if not len(data):
        raise ValueError("there are no windows to train on")
    if answers is not None and len(answers) != len(data):
        raise ValueError(f"the teacher answered {len(answers)} windows, there are {len(data)}: its answers belong to others")
