"""Prepared windows: every prompt of a split cut out once, stored as arrays that training and evaluation map into memory.

A shard folder is named by its key, a hash of the dataset's digest, the split, the window policy and the version of this code:

- ``images-00000.npy`` ... uint8 [n, S, S, 3] RGB; ``masks-00000.npy`` ... uint8 [n, S, S / 8], bits, leftmost first;
- ``index.npz``: a row per window (see ``ShardReader``); ``meta.json``: key, policy, counts;
- ``federation.json``, of datasets in LVIS layout alone: what LVIS's evaluation must know of these images.

S is the *canvas*: the window as the network sees it takes the middle ``size`` cells, and round it lies as much again of the
image as augmentation may shift or shrink into. Outside the image everything is 0. For evaluation canvas = size.
Windows are in the dataset's order: images as in the annotation file, then annotations as in it; crowds are left out.
"""

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.contracts.windows import Border, WindowPolicy
from shared.picosam.data import rle
from shared.picosam.data.errors import DataError, DatasetChanged, DatasetGone
from shared.picosam.data.images import ImageProblem, decode_rgb, read_bytes, resolve_inside
from shared.picosam.data.lvis import frequencies_of
from shared.picosam.data.manifest import ImageRow, Instance, read_header, read_rows
from shared.picosam.data.ordered import Report, cores, ignore, never, ordered_map
from shared.picosam.data.shard_files import IndexRow, ShardReader, ShardWriter
from shared.picosam.jitter import PromptJitter
from shared.picosam.prompt import INPUT_SIZE, Box, Pixel, Window, extract_mask, prompt_point, window_for

CODE_VERSION: Final = 1
"""Raised whenever the same dataset and policy would give other bytes."""

_BOX_CODE_VERSION: Final = 2
"""The same of box prompts alone, so that windows of points stay as they were named."""

_AUTHORS_MARGIN_CODE_VERSION: Final = 2
"""The same of windows with a margin under the rule ``authors``, whose masks were wrong at the image's left and top in 1."""

_AHEAD_PER_THREAD: Final = 2

_COARSEST: Final = 8
"""Image pixels per cell beyond which an image is shrunk by a whole number first: a window is square and may leave the image,
so of a panorama of 20,000 x 3,000 pixels it would take 5 GB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPolicy:
    """How prompts become stored windows. ``canvas`` and ``size`` are in cells of the network's input."""

    window: WindowPolicy
    canvas: int = INPUT_SIZE
    size: int = INPUT_SIZE
    max_windows: int | None = None
    """Only the first so many: the published protocol scores the first 1000."""
    jitter: PromptJitter | None = None
    """Prompts moved away from where they should be."""

    def __post_init__(self) -> None:
        if not 8 <= self.size <= self.canvas <= 4096 or self.canvas % 8 or (self.canvas - self.size) % 2:
            raise ValueError(
                f"canvas must be a multiple of 8 and size + an even margin, got {self.canvas} for size {self.size}"
            )
        if self.max_windows is not None and self.max_windows < 1:
            raise ValueError(f"max_windows must be at least 1, got {self.max_windows}")

    def described(self) -> dict[str, object]:
        """All that shapes the windows, as JSON; knobs of the other kind of prompt are left out."""
        unused, code = ({"box_margin"}, {}) if self.window.prompt == "point" else ({"side"}, {"box_code": _BOX_CODE_VERSION})
        window = self.window.model_dump(mode="json", exclude=unused)
        moved = {"jitter": self.jitter.described()} if self.jitter is not None and self.jitter.share > 0 else {}
        sizes = {"canvas": self.canvas, "size": self.size, "max_windows": self.max_windows}
        rule = {"margin_code": _AUTHORS_MARGIN_CODE_VERSION} if self._has_authors_margin else {}
        return {"window": window, **sizes, **code, **moved, **rule}

    @property
    def _has_authors_margin(self) -> bool:
        return self.window.border is Border.AUTHORS and self.canvas > self.size


def shard_key(digest: str, split: str, policy: ShardPolicy) -> str:
    """64 hex digits: the same for the same dataset contents, split, policy and preparing code."""
    named = {"code": CODE_VERSION, "dataset": digest, "split": split, "policy": policy.described()}
    return hashlib.sha256(msgspec.json.encode(named, order="sorted")).hexdigest()


def prepare(
    manifest: Path,
    root: Path,
    split: str,
    policy: ShardPolicy,
    folder: Path,
    *,
    digest: str,
    progress: Report = ignore,
    stop: Callable[[], bool] = never,
    threads: int | None = None,
) -> ShardReader:
    """Cuts all windows of ``split`` and puts them into ``folder``, which appears whole or not at all; progress counts windows.

    Nothing is done if ``folder`` is there already. Each image is decoded once. The result does not depend on ``threads``.
    ``DatasetGone`` or ``DatasetChanged`` if an image is not as it was imported; ``Stopped`` if ``stop()`` became true.
    """
    if folder.is_dir():
        return ShardReader(folder)
    total = _count(manifest, split, policy)
    root, threads = _existing(root), threads or cores()
    meta = {"key": shard_key(digest, split, policy), "dataset": digest, "split": split, "policy": policy.described()}
    done = 0
    frequencies = frequencies_of(read_header(manifest).categories)
    with (
        ShardWriter(folder, windows=total, canvas=policy.canvas, meta=meta, frequencies=frequencies) as writer,
        ThreadPoolExecutor(threads) as executor,
    ):
        jobs = _jobs(manifest, split, total)
        for cut in ordered_map(executor, partial(_cut, root, policy), jobs, ahead=_AHEAD_PER_THREAD * threads, stop=stop):
            writer.add(cut.images, cut.masks, cut.rows)
            done += len(cut.rows)
            progress(done, total)
    return ShardReader(folder)


@dataclass(frozen=True, slots=True)
class _Job:
    """One image and those of its instances that are wanted."""

    row: ImageRow
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """One image's windows: uint8 [n, S, S, 3], bool [n, S, S]."""

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    rows: list[IndexRow]


def _count(manifest: Path, split: str, policy: ShardPolicy) -> int:
    total = sum(len(row.prompts()) for row in read_rows(manifest, split))
    if total == 0:
        splits = ", ".join(read_header(manifest).splits)
        raise DataError(f"split {split!r} has no prompts; the dataset's splits are {splits}", hint="Choose another split.")
    return total if policy.max_windows is None else min(total, policy.max_windows)


def _jobs(manifest: Path, split: str, total: int) -> Iterator[_Job]:
    left = total
    for row in read_rows(manifest, split):
        if wanted := row.prompts()[:left]:
            left -= len(wanted)
            yield _Job(row, wanted)
        if left == 0:
            return


def _cut(root: Path, policy: ShardPolicy, job: _Job) -> _Cut:
    image = Image.fromarray(load_image(root, job.row))
    shape = (len(job.instances), policy.canvas, policy.canvas)
    images, masks = np.empty((*shape, 3), dtype=np.uint8), np.empty(shape, dtype=np.bool_)
    rows = []
    for number, instance in enumerate(job.instances):
        mask = rle.to_mask(instance.rle)
        point, box = _prompt(policy, instance, mask)
        window = window_for(policy.window, mask.shape, point=point, box=box)
        stored = stored_window(window, policy)
        images[number] = resampled(image, stored, policy.canvas)
        masks[number] = resampled_mask(mask, stored, policy.canvas)
        asked = box if policy.window.prompt == "box" else None
        rows.append(IndexRow(image=job.row, instance=instance, window=window, point=point, box=asked))
    return _Cut(images, masks, rows)


def _prompt(policy: ShardPolicy, instance: Instance, mask: NDArray[np.bool_]) -> tuple[Pixel, Box]:
    """The point and the box that stand for an object: the box as annotated, which is what the published code takes.

    An annotated box without area (some are lines) gives way to the mask's own; of an empty mask it is the point's pixel.
    """
    point = prompt_point(mask)
    boxes = (_corners(box) for box in (instance.bbox, rle.tight_box(instance.rle)))
    pixel = (float(point[0]), float(point[1]), point[0] + 1.0, point[1] + 1.0)
    box = next((box for box in boxes if box[0] < box[2] and box[1] < box[3]), pixel)
    if policy.jitter is None:
        return point, box
    height, width = mask.shape
    return policy.jitter.point(point, box, (height, width), instance.id), policy.jitter.box(box, (height, width), instance.id)


def resampled(image: Image.Image, window: Window, cells: int) -> NDArray[np.uint8]:
    """The window as uint8 [cells, cells, 3], cut and resized by Pillow itself (bilinear), as the published protocol does it.

    ``prompt.extract``, which needs numpy alone, agrees but for rounding (one grey level, two in some of 100,000 pixels); on
    large windows it is ten times slower.
    """
    coarse = max(window.width, window.height) // (_COARSEST * cells)
    corners = (window.x0, window.y0, window.x1, window.y1)
    if coarse > 1:
        image = image.reduce(coarse)
        left, top, right, bottom = (round(corner / coarse) for corner in corners)
        corners = left, top, right, bottom
    return np.asarray(image.crop(corners).resize((cells, cells), Image.Resampling.BILINEAR))


def resampled_mask(mask: NDArray[np.bool_], window: Window, cells: int) -> NDArray[np.bool_]:
    """The window's part of a mask, bool [cells, cells], nearest pixel.

    Under the rule ``authors`` by Pillow as in the published code: it adds positions up in floating point, and so of two pixels
    equally near takes the other one than ``extract_mask`` where a window was cut to 64 pixels.
    """
    if window.border is not Border.AUTHORS or window.height == window.width == cells:
        return extract_mask(mask, window, cells)
    # Cut by Pillow too: with its margin a window may leave the image, and a slice from a negative start takes other pixels.
    part = Image.fromarray(mask.astype(np.uint8)).crop((window.x0, window.y0, window.x1, window.y1))
    return np.asarray(part.resize((cells, cells), Image.Resampling.NEAREST)) > 0


def load_image(root: Path, row: ImageRow) -> NDArray[np.uint8]:
    """The image as RGB, uint8 [H, W, 3]. ``DatasetGone`` or ``DatasetChanged`` if it is not as it was imported."""
    try:
        content = read_bytes(resolve_inside(root, row.file))
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise DatasetChanged(f"{row.file} is not the file that was imported: its digest differs")
        return decode_rgb(content, row.file)
    except ImageProblem as exc:
        raise DatasetGone(f"split {row.split!r}: {exc}") from exc


def _existing(root: Path) -> Path:
    if not root.is_dir():
        raise DatasetGone(f"the dataset's folder {root} is gone")
    return root.resolve()


def _corners(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x, y, x + width, y + height


def stored_window(window: Window, policy: ShardPolicy) -> Window:
    """What the canvas shows: the window grown about its middle, in each direction by its share of it, to whole pixels."""
    if policy.canvas == policy.size:
        return window
    share = (policy.canvas - policy.size) / (2 * policy.size)
    x, y = round(window.width * share), round(window.height * share)
    return Window(
        x0=window.x0 - x,
        y0=window.y0 - y,
        x1=window.x1 + x,
        y1=window.y1 + y,
        border=window.border,
        clipped=window.clipped,
    )
