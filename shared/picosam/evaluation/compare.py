"""Is one model better than another, or was it luck? Prompts of one image are not independent, so images are resampled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.contracts.evaluation import Comparison
from shared.picosam.figures import Values

_CELLS: Final = 4_000_000
"""Of a table of resamples by images, so that 5,000 images do not take a gigabyte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second model's mIoU less the first's, on the same prompts."""

    mean: float
    low: float
    high: float
    """Ends of the bootstrap interval over images."""
    p_value: float
    """Of the paired test: how often swapping the two at random, image by image, gives as large a difference either way."""
    prompts: int
    images: int


def compare(first: Values, second: Values, images: NDArray[np.int64], how: Comparison) -> Difference:
    """``first`` and ``second``: IoU of the same prompts, [N]; ``images``: the image of each, [N]. ValueError of none.

    Percentile bootstrap with whole images drawn (cluster bootstrap), and a sign-flip permutation test by images. A function
    of its arguments: the seed is in ``how``.
    """
    if not first.size:
        raise ValueError("two models cannot be compared on no prompt")
    _, place = np.unique(images, return_inverse=True)
    gains: Values = np.bincount(place, weights=second - first).astype(np.float64)
    counts = np.bincount(place).astype(np.float64)
    tail = (1 - how.confidence) / 2
    low, high = np.quantile(_resampled(gains, counts, how), (tail, 1 - tail))
    return Difference(
        mean=float(gains.sum() / counts.sum()),
        low=float(low),
        high=float(high),
        p_value=_p_value(gains, how),
        prompts=int(first.size),
        images=int(counts.size),
    )


def _resampled(gains: Values, counts: Values, how: Comparison) -> Values:
    """Mean gain per prompt in each resample of the images."""
    random = np.random.default_rng([how.seed, 1])
    share = np.full(counts.size, 1 / counts.size)
    parts = [random.multinomial(counts.size, share, size) for size in _parts(how.resamples, counts.size)]
    return np.concatenate([part @ gains / (part @ counts) for part in parts])


def _p_value(gains: Values, how: Comparison) -> float:
    """Two-sided; the observed assignment counts as one of the draws, so it is never 0."""
    random = np.random.default_rng([how.seed, 2])
    # A sum of the same numbers in another order may differ in its last bits: as large means as large but for that.
    wanted = abs(gains.sum()) * (1 - 1e-12)
    parts = _parts(how.resamples, gains.size)
    hits = sum(int((np.abs((2.0 * random.integers(0, 2, (size, gains.size)) - 1) @ gains) >= wanted).sum()) for size in parts)
    return (hits + 1) / (how.resamples + 1)


def _parts(count: int, width: int) -> Iterator[int]:
    step = max(1, _CELLS // width)
    return (min(step, count - start) for start in range(0, count, step))
