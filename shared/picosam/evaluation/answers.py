"""What networks answer to prompts, kept as bits: the masks of 36,000 prompts (COCO val) take 42 MB."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.contracts.windows import Border
from shared.picosam.baselines import Draw
from shared.picosam.confidence import soft_iou
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.evaluation.networks import Network
from shared.picosam.figures import Flags, Values

BATCH: Final = 8
"""Windows at a time: few enough to stop at once, and no network here is faster with more on a CPU."""

_AT_ONCE: Final = 256
"""Windows whose masks are unpacked together."""

Rows: TypeAlias = NDArray[np.int64]
Bits: TypeAlias = NDArray[np.uint8]
"""Masks, eight cells a byte: [N, S * S / 8]."""


class Stopped(Exception):
    """An evaluation was asked to stop before its end."""


@dataclass(frozen=True, slots=True)
class Answers:
    """One network's masks of one set of windows, in the windows' order."""

    bits: Bits
    confidence: Values
    """Mean probability over the mask's cells, [N]; 0 of an empty mask. It ranks detections for mask AP."""
    soft_iou: Values
    """Of the masks' probabilities, [N]; 0 of an empty mask. Calibrated, it is the IoU to expect."""

    @property
    def area(self) -> Values:
        """Mask cells / window cells, [N]."""
        share: Values = np.bitwise_count(self.bits).sum(axis=1, dtype=np.int64) / (8 * self.bits.shape[1])
        return share

    def __len__(self) -> int:
        return len(self.bits)

    def mask(self, row: int) -> NDArray[np.bool_]:
        """bool [S, S]."""
        cells = np.unpackbits(self.bits[row]).view(np.bool_)
        side = int(cells.size**0.5)
        return cells.reshape(side, side)


def ask(
    network: Network,
    windows: ShardReader,
    rows: Rows,
    *,
    progress: Callable[[int], None] = lambda _done: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Answers:
    """The network's answers to ``rows`` of ``windows`` (canvas = size). Stopped when asked to stop between two batches.

    ``progress`` gets the number of windows of each batch. ValueError for logits that are not numbers.
    """
    side = windows.canvas
    found = _blank(rows.size, side)
    for start in range(0, rows.size, BATCH):
        if stop_requested():
            raise Stopped
        part = slice(start, min(start + BATCH, rows.size))
        images, _ = windows.windows(rows[part])
        logits = network.logits(images).reshape(len(images), -1)
        if np.isnan(logits).any():
            raise ValueError(f"the network answers NaN to prompt {windows.instance_id[rows[start]]} or one after it")
        masks = logits > 0
        found.bits[part], found.confidence[part] = np.packbits(masks, axis=1), _confidence(logits, masks)
        found.soft_iou[part] = soft_iou(logits)
        progress(len(images))
    return found


def ask_under_all(
    network: Network,
    windows: Mapping[Border, ShardReader],
    *,
    progress: Callable[[int], None] = lambda _done: None,
    stop_requested: Callable[[], bool] = lambda: False,
) -> dict[Border, Answers]:
    """The answers under every border rule. A window that several rules cut alike, as most are, is asked once."""
    found: dict[Border, Answers] = {}
    for border, reader in windows.items():
        rows = rows_to_ask(windows, border)
        asked = ask(network, reader, rows, progress=progress, stop_requested=stop_requested)
        whole = _blank(len(reader), reader.canvas)
        for other, answers in found.items():
            same = np.flatnonzero(same_windows(reader, windows[other]))
            _put(whole, same, answers, same)
        _put(whole, rows, asked, np.arange(rows.size))
        found[border] = whole
    return found


def rows_to_ask(windows: Mapping[Border, ShardReader], border: Border) -> Rows:
    """The rows under ``border`` whose window no earlier rule of the mapping has cut alike."""
    reader, known = windows[border], np.zeros(len(windows[border]), np.bool_)
    for other in windows:
        if other is border:
            return np.flatnonzero(~known)
        known |= same_windows(reader, windows[other])
    raise KeyError(border)


def same_windows(one: ShardReader, other: ShardReader) -> Flags:
    """Which prompts have the same window in both, and so the same pixels; bool [N]."""
    same: Flags = (one.window == other.window).all(axis=1)
    return same


def draw_all(draw: Draw, windows: ShardReader) -> Answers:
    """What needs no network: a shape drawn into each prompt's box. ValueError for windows of points."""
    if windows.box is None:
        raise ValueError("a shape can only be drawn into a box, and these prompts are points")
    parts = []
    for start in range(0, len(windows), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        masks = draw(windows.box[part], windows.window[part], windows.size)
        parts.append(np.packbits(masks.reshape(len(masks), -1), axis=1))
    bits = np.concatenate(parts)
    return Answers(bits, np.ones(len(windows)), (bits != 0).any(axis=1).astype(np.float64))


def truth_bits(windows: ShardReader) -> Bits:
    """The true masks of all windows."""
    parts = []
    for start in range(0, len(windows), _AT_ONCE):
        _, masks = windows.windows(np.arange(start, min(start + _AT_ONCE, len(windows))))
        parts.append(np.packbits(masks.reshape(len(masks), -1), axis=1))
    return np.concatenate(parts)


def ious(predicted: Bits, truth: Bits) -> Values:
    """IoU of each mask, float64 [N]; 1 where both are empty."""
    shared = np.bitwise_count(predicted & truth).sum(axis=1, dtype=np.int64)
    union = np.bitwise_count(predicted | truth).sum(axis=1, dtype=np.int64)
    found: Values = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
    return found


def _blank(windows: int, side: int) -> Answers:
    return Answers(np.zeros((windows, side * side // 8), np.uint8), np.zeros(windows), np.zeros(windows))


def _put(into: Answers, rows: Rows, answers: Answers, taken: Rows) -> None:
    into.bits[rows], into.confidence[rows] = answers.bits[taken], answers.confidence[taken]
    into.soft_iou[rows] = answers.soft_iou[taken]


def _confidence(logits: NDArray[np.float32], masks: NDArray[np.bool_]) -> Values:
    # Where the mask is, the logit is positive: this form cannot overflow there.
    probabilities = 1 / (1 + np.exp(-np.where(masks, logits, 0).astype(np.float64)))
    found: Values = (probabilities * masks).sum(axis=1) / np.maximum(masks.sum(axis=1), 1)
    return found
