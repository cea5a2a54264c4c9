"""Random views of margin windows. Every draw is a function of (seed, sample number): nothing here keeps state.

A margin window is a square canvas whose middle ``size`` pixels are the plain window; the margin is what shift and
scale jitter may bring into view. Image and mask (and, when distilling, a teacher's map) pass through the same matrix.
"""

import functools
import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from shared.contracts.training import Augmentation

DRAWS: Final = 7
"""Uniform numbers per sample: flip, scale, shift x, shift y, brightness, contrast, saturation."""

SUREST: Final = 1e3
"""Logits are cut off there. The interpolation of an infinite one would be no number, and no probability needs more."""

_AUGMENT_STREAM: Final = 1
_ORDER_STREAM: Final = 2

_LUMA: Final = np.array([0.299, 0.587, 0.114])
"""Grey of RGB (ITU-R BT.601), as torchvision's colour jitter weighs it."""


def canvas_for(settings: Augmentation, size: int = 96) -> int:
    """The smallest canvas, in pixels and a multiple of 8, that no draw of ``settings`` looks beyond."""
    reach = settings.scale_jitter * (size / 2 + settings.shift)
    return max(size, math.ceil(2 * reach / 8) * 8)


def generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Random numbers that depend on the three values alone: a counter-based generator, so any sample can be drawn first."""
    # Word 1 of the counter, not word 0: Philox counts word 0 up, and neighbouring samples must not overlap.
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, number, 0, 0]))


def draws(seed: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Uniform numbers in 0..1 for the samples ``numbers`` [B]: [B, DRAWS]."""
    return np.stack([generator(seed, _AUGMENT_STREAM, int(number)).random(DRAWS) for number in numbers])


@functools.lru_cache(maxsize=2)  # asked for by every batch; two epochs meet in one batch
def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    """The order in which epoch ``epoch`` visits ``count`` windows: a read-only permutation."""
    order = generator(seed, _ORDER_STREAM, epoch).permutation(count)
    order.flags.writeable = False
    return order


def matrices(uniform: NDArray[np.float64], settings: Augmentation, canvas: int, size: int) -> NDArray[np.float64]:
    """Where each output pixel looks: [B, 2, 3], (x, y) on the canvas = M @ (u, v, 1) in the output, pixel centres whole.

    The jittered window is ``scale`` times as wide as the plain one; its centre moves by whole or part pixels of the
    *output*, so by ``scale`` times as many on the canvas.
    """
    scale = settings.scale_jitter ** (2 * uniform[:, 1] - 1)
    mirror = np.where(uniform[:, 0] < settings.flip, -1.0, 1.0)
    shift = settings.shift * (2 * uniform[:, 2:4] - 1)
    middle_in, middle_out = (canvas - 1) / 2, (size - 1) / 2
    result = np.zeros((len(uniform), 2, 3))
    result[:, 0, 0], result[:, 1, 1] = scale * mirror, scale
    result[:, 0, 2] = middle_in + scale * (shift[:, 0] - mirror * middle_out)
    result[:, 1, 2] = middle_in + scale * (shift[:, 1] - middle_out)
    return result


def warp(picture: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """One picture [S, S] or [S, S, C] seen through ``matrix`` [2, 3]: [size, size(, C)], bilinear, zero outside."""
    seen = cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=0)
    return np.asarray(seen, dtype=np.uint8)


def recolour(window: NDArray[np.uint8], uniform: NDArray[np.float64], settings: Augmentation) -> NDArray[np.uint8]:
    """Brightness, contrast round the window's own mean grey, then saturation: uint8 [H, W, 3], clipped once at the end.

    ``uniform``: the window's last three draws. The three steps are linear, so they are one 3x4 colour matrix: a pass over
    the pixels instead of three, and no clipping in between.
    """
    strength = np.array([settings.brightness, settings.contrast, settings.saturation])
    brightness, contrast, saturation = 1 + strength * (2 * uniform - 1)
    mean_grey = float(np.dot(_LUMA, cv2.mean(window)[:3]))
    colour = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    offset = np.full((3, 1), (1 - contrast) * brightness * mean_grey)
    return np.asarray(cv2.transform(window, np.hstack([contrast * brightness * colour, offset])), dtype=np.uint8)


def augment(
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    *,
    seed: int,
    settings: Augmentation,
    size: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Views of margin windows [B, S, S, 3] and their masks [B, S, S]: uint8 [B, size, size, 3] and 0 or 1 [B, size, size].

    ``numbers`` [B] are the samples' numbers since the start of training: the same window seen again is seen anew. A mask
    pixel is object if at least half of what it covers is.
    """
    uniform = draws(seed, numbers)
    views = matrices(uniform, settings, images.shape[1], size)
    seen = np.empty((len(images), size, size, 3), np.uint8)
    truth = np.empty((len(images), size, size), np.uint8)
    for row, view in enumerate(views):
        seen[row] = recolour(warp(images[row], view, size), uniform[row, 4:], settings)
        truth[row] = warp(masks[row].view(np.uint8) * np.uint8(255), view, size) >= 128
    return seen, truth


def augment_answers(
    logits: NDArray[np.float16], numbers: NDArray[np.int64], *, seed: int, settings: Augmentation, size: int
) -> NDArray[np.float32]:
    """A teacher's answers [B, S, S] as the student sees their windows: float32 [B, size, size], bilinear.

    Through the same matrices as ``augment``. A view ends where the canvas does, so only the outer half of the outermost
    pixels has no neighbour: there the edge's own value goes on. A constant would draw a rim of background round any object
    that reaches the edge.
    """
    views = matrices(draws(seed, numbers), settings, logits.shape[1], size)
    seen = np.empty((len(logits), size, size), np.float32)
    for row, view in enumerate(views):
        whole = np.clip(logits[row].astype(np.float32), -SUREST, SUREST)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(whole, view, (size, size), dst=seen[row], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return seen
