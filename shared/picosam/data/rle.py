"""Masks as COCO run lengths, checked before pycocotools' C code sees them.

A run-length code is a list of counts down the columns, beginning with background. COCO writes it as a list
("uncompressed") or as text (six bits a character, each count from the fourth on as the difference to the one two before).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from shared.picosam.data.manifest import Rle

Shape = tuple[int, int]
Counts = NDArray[np.int64]

_LONGEST_GROUP: Final = 7
"""Characters a count: 35 bits, beyond any image."""


class MaskProblem(Exception):
    """Why a mask cannot be used; ``kind`` is the report's word for it."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def from_counts(counts: Sequence[int] | str, size: Sequence[int], shape: Shape) -> Rle:
    """A checked, canonical code of an image of ``shape`` (height, width); ``MaskProblem`` if it does not describe one."""
    if tuple(size) != shape:
        raise MaskProblem("rle_size_differs", f"RLE of size {list(size)} on an image of {list(shape)} (height, width)")
    runs = parse_text(counts) if isinstance(counts, str) else _as_counts(counts)
    pixels = shape[0] * shape[1]
    if runs.size and not 0 <= runs.min() <= runs.max() <= pixels:  # one by one first: a sum can run over
        raise MaskProblem("rle_malformed", f"RLE with a count of {int(runs.min())} or {int(runs.max())} for {pixels} pixels")
    if (total := int(runs.sum())) != pixels:
        raise MaskProblem("rle_size_differs", f"RLE counts add up to {total}, the image has {pixels} pixels")
    return compress(canonical(runs), shape)


def from_mask(mask: NDArray[Any]) -> Rle:
    """The code of a mask [H, W], non-zero being object."""
    encoded = coco_mask.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return Rle(size=(mask.shape[0], mask.shape[1]), counts=encoded["counts"].decode())


def to_mask(rle: Rle) -> NDArray[np.bool_]:
    """bool [H, W].

    Not by pycocotools, whose decoder (2.0.11) makes numpy 2.4 warn once per mask and is no faster.
    """
    counts = parse_text(rle.counts)
    height, width = rle.size
    return np.repeat(np.arange(counts.size) % 2 == 1, counts).reshape(width, height).T


def area(rle: Rle) -> int:
    """Object pixels."""
    return int(coco_mask.area(_plain(rle)))


def tight_box(rle: Rle) -> tuple[float, float, float, float]:
    """x, y, width, height round the object pixels; zeros for an empty mask."""
    x, y, width, height = (float(value) for value in coco_mask.toBbox(_plain(rle)))
    return x, y, width, height


def from_rings(rings: Sequence[Sequence[float]], shape: Shape) -> Rle:
    """The union of polygons, filled as COCO's tools fill them. The caller has checked the rings."""
    parts = coco_mask.frPyObjects([list(ring) for ring in rings], *shape)
    merged = coco_mask.merge(parts)
    return Rle(size=shape, counts=merged["counts"].decode())


def compress(counts: Counts, shape: Shape) -> Rle:
    """Counts that were checked, as text."""
    encoded = coco_mask.frPyObjects({"size": list(shape), "counts": counts.tolist()}, *shape)
    return Rle(size=shape, counts=encoded["counts"].decode())


def canonical(counts: Counts) -> Counts:
    """The same mask without empty runs (but for a leading one), so that equal masks have equal codes."""
    values = np.arange(counts.size) % 2
    filled = counts > 0
    lengths, values = counts[filled], values[filled]
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    merged: Counts = np.add.reduceat(lengths, starts) if lengths.size else lengths
    return np.concatenate([[0], merged]) if values.size and values[0] == 1 else merged


def parse_text(text: str) -> Counts:
    """Counts of a compressed code; ``MaskProblem`` if the text is not one."""
    symbols = np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64) - 48
    if symbols.size == 0:
        return symbols
    if symbols.min() < 0 or symbols.max() > 63 or symbols[-1] & 0x20:
        raise MaskProblem("rle_malformed", "RLE text with characters that are no code, or cut off")
    ends = np.flatnonzero(symbols & 0x20 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_GROUP:
        raise MaskProblem("rle_malformed", "RLE text with a count beyond any image")
    places = np.arange(symbols.size) - np.repeat(starts, lengths)
    values: Counts = np.add.reduceat((symbols & 0x1F) << (5 * places), starts)
    values -= np.where(symbols[ends] & 0x10, np.int64(1) << (5 * lengths), 0)
    return _undo_differences(values)


def _undo_differences(values: Counts) -> Counts:
    """From the fourth count on the text holds the difference to the count two before; the first three stand as they are."""
    counts = values.copy()
    counts[1::2] = np.cumsum(values[1::2])
    counts[2::2] = np.cumsum(values[2::2])
    return counts


def _as_counts(counts: Sequence[int]) -> Counts:
    try:
        return np.asarray(counts, dtype=np.int64)
    except OverflowError as exc:
        raise MaskProblem("rle_malformed", "RLE with a count beyond any image") from exc


def _plain(rle: Rle) -> dict[str, Any]:
    return {"size": list(rle.size), "counts": rle.counts.encode()}
