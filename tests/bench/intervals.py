"""How sure a mean over prompts and seeds is, where neither prompts of one image nor figures of one seed are independent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the ends of its bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """In points (hundredths) to one tenth of a point, as +1.3 (0.4 .. 2.1)."""
        return f"{100 * self.mean:+.2f} ({100 * self.low:+.2f} .. {100 * self.high:+.2f})"


def over_seeds_and_images(
    values: Values, images: NDArray[np.int64], *, resamples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """The mean of ``values`` [S, N], a row per seed and a column per prompt; ``images`` [N]: the image of each prompt.

    Hierarchical percentile bootstrap: each resample draws S seeds and as many whole images as there are, both with
    replacement. A resample's mean is over its prompts, so that images with many prompts weigh as in the plain mean. With
    one seed the interval says nothing of seeds.
    """
    seeds, prompts = values.shape
    if not prompts or not seeds:
        raise ValueError(f"an interval needs values, got {values.shape}")
    _, place = np.unique(images, return_inverse=True)
    counts = np.bincount(place).astype(np.float64)  # prompts per image [G]
    sums = np.stack([np.bincount(place, weights=row) for row in values])  # per seed and image [S, G]
    random = np.random.default_rng(seed)
    of_seeds = random.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds  # [R, S]
    of_images = random.multinomial(counts.size, np.full(counts.size, 1 / counts.size), resamples)  # [R, G]
    means = ((of_images @ sums.T) * of_seeds).sum(axis=1) / (of_images @ counts)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(values.mean()), float(low), float(high))
