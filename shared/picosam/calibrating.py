"""Measures what a network's probabilities are worth on validation windows: fits what ``confidence`` then computes with.

Only workers import this: it needs scipy. What comes of it (``shared.contracts.serving``) is read without.
"""

from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.contracts.serving import HISTOGRAM_BINS, Calibration, Reference
from shared.contracts.windows import Border
from shared.picosam.confidence import expected_iou
from shared.picosam.figures import Flags, Values

BORDER: Final = Border.PAD
"""The rule that serving cuts windows by, unless told otherwise."""

LEAST_WINDOWS: Final = 20
"""With a mask. Of fewer a curve says more about chance than about the network."""

MOST_KNOTS: Final = 32

_PER_KNOT: Final = 10
"""Windows at least: the mean IoU of so many is known to 0.1 or better."""

_GROUPS: Final = 10

Curve: TypeAlias = tuple[Values, Values]
"""Two columns that belong together, such as soft and expected IoU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One network's masks of validation windows under ``BORDER``, [N] each."""

    soft_iou: Values
    iou: Values
    """With the true masks."""
    area: Values
    """Mask cells / window cells."""
    image_id: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """What was found. Without a calibration where there are too few masks to fit one, or all are alike."""

    calibration: Calibration | None = None
    reference: Reference | None = None
    reliability: dict[str, Curve] = field(default_factory=dict)
    """(mean confidence, mean IoU) of ten equally large groups of masks, by what their confidence is."""

    @property
    def figures(self) -> dict[str, float]:
        """Under the names that MLflow and results have; none without a calibration."""
        if (found := self.calibration) is None:
            return {}
        return {
            "confidence_rank_correlation": found.rank_correlation,
            "confidence_mean_abs_error": found.mean_abs_error,
            "confidence_calibration_error": found.calibration_error,
        }


def measure(judged: Judged) -> Confidence:
    """Calibration and reference of a network. Windows without a mask have no confidence: they are only counted."""
    found = judged.soft_iou > 0
    soft, iou = judged.soft_iou[found], judged.iou[found]
    crossed, curve = _cross_fitted(soft, iou, judged.image_id[found]), _curve(soft, iou)
    if crossed is None or curve is None:
        return Confidence(reference=_reference(judged, None))
    calibration = _calibration(curve, crossed, iou)
    return Confidence(
        calibration=calibration,
        reference=_reference(judged, calibration),
        reliability={"calibrated": grouped(crossed, iou), "as it is (soft IoU)": grouped(soft, iou)},
    )


def grouped(confidence: Values, iou: Values) -> Curve:
    """(mean confidence, mean IoU) of ten groups of equally many masks, the least confident first."""
    parts = np.array_split(np.argsort(confidence, kind="stable"), _GROUPS)
    means = np.array([(confidence[part].mean(), iou[part].mean()) for part in parts if part.size])
    return means[:, 0], means[:, 1]


def varied(area: Values, count: int) -> NDArray[np.int64]:
    """Rows of ``count`` masks (or all there are), small ones first and evenly over the sizes; empty ones for want of others.

    area: as of ``Judged``.
    """
    order = np.argsort(area, kind="stable")
    empty, drawn = order[area[order] == 0], order[area[order] > 0]
    parts = min(count, drawn.size)
    # The middles of equal parts: the very smallest mask may be one cell, which another processor's rounding takes away.
    middles = (2 * np.arange(parts) + 1) * drawn.size // max(1, 2 * parts)
    return np.concatenate([drawn[middles], empty[: count - parts]])


def _cross_fitted(soft: Values, iou: Values, image_id: NDArray[np.int64]) -> Values | None:
    """The expected IoU of each mask by a curve that has seen neither it nor its image; None if there can be none."""
    if soft.size < LEAST_WINDOWS or np.ptp(soft) == 0 or np.ptp(iou) == 0:
        return None
    first = _first_half(image_id)
    ours, theirs = _curve(soft[first], iou[first]), _curve(soft[~first], iou[~first])
    if ours is None or theirs is None:
        return None
    crossed: Values = np.where(first, np.interp(soft, *theirs), np.interp(soft, *ours)).clip(0, 1)
    return crossed


def _first_half(image_id: NDArray[np.int64]) -> Flags:
    """Which windows are of the first half of the images, bool [N]; about half of the windows, always the same."""
    images, of, counts = np.unique(image_id, return_inverse=True, return_counts=True)
    order = np.random.default_rng(0).permutation(images.size)
    middles = np.cumsum(counts[order]) - counts[order] / 2
    chosen = np.zeros(images.size, np.bool_)
    chosen[order] = middles <= image_id.size / 2
    half: Flags = chosen[of]
    return half


def _curve(soft: Values, iou: Values) -> Curve | None:
    """Knots of the monotone regression of ``iou`` on ``soft``: means of groups of about as many masks. None of one value.

    Equal values stay together, so the knots rise strictly.
    """
    from scipy.optimize import isotonic_regression  # 1.2 s to import

    values, of, counts = np.unique(soft, return_inverse=True, return_counts=True)
    groups = min(MOST_KNOTS, max(2, soft.size // _PER_KNOT))
    group = (np.cumsum(counts) - counts) * groups // max(1, soft.size)
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    if begins.size < 2:
        return None
    weights, ends = np.add.reduceat(counts, begins), np.append(begins[1:], values.size) - 1
    # A rounded mean may leave its group by one bit.
    knots = (np.add.reduceat(counts * values, begins) / weights).clip(values[begins], values[ends])
    means = np.add.reduceat(np.bincount(of, iou), begins) / weights
    return knots, isotonic_regression(means, weights=weights).x.clip(0, 1)


def _calibration(curve: Curve, crossed: Values, iou: Values) -> Calibration:
    expected, true = grouped(crossed, iou)
    return Calibration(
        soft_iou=curve[0].tolist(),
        expected_iou=curve[1].tolist(),
        windows=iou.size,
        border=BORDER,
        rank_correlation=_rank_correlation(crossed, iou),
        mean_abs_error=float(np.abs(crossed - iou).mean()),
        calibration_error=float(np.abs(expected - true).mean()),
    )


def _rank_correlation(first: Values, second: Values) -> float:
    """Spearman's; 0 where one of the two does not vary, since then it tells nothing of the other."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(_ranks(first), _ranks(second))[0, 1].clip(-1, 1))


def _ranks(values: Values) -> Values:
    """From 0; equal values share the mean of their ranks."""
    _, of, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Values = (np.cumsum(counts) - (counts + 1) / 2)[of]
    return ranks


def _reference(judged: Judged, calibration: Calibration | None) -> Reference | None:
    """How area and confidence of the masks are spread; None without any mask."""
    found = judged.soft_iou > 0
    if not found.any():
        return None
    return Reference(
        area=_shares(judged.area[found]),
        confidence=_shares(expected_iou(judged.soft_iou[found], calibration)),
        empty=float(1 - found.mean()),
        windows=found.size,
    )


def _shares(values: Values) -> list[float]:
    counts, _ = np.histogram(values.clip(0, 1), bins=HISTOGRAM_BINS, range=(0, 1))
    shares: list[float] = (counts / values.size).tolist()
    return shares
