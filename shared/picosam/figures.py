"""Figures of mask quality: the published protocol, under names that say which border rule was used. numpy alone.

The protocol (arXiv:2506.18807 and its code): one sample per non-crowd annotation, prompt at the centre of the mask's extent,
mIoU = mean over samples; "mAP" = share of samples whose IoU reaches a threshold, averaged over 0.50, 0.55 .. 0.95. The
latter is a hit rate, hence its name here; COCO's mask AP is in ``mask_ap``.

Empty masks, as in that code: where prediction and truth are both empty (an empty union) the IoU is 1; a sample whose truth is
empty counts for mIoU, but not for the hit rate.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shared.contracts.windows import Border, WindowPolicy

Values: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

HIT_THRESHOLDS: Final = tuple(percent / 100 for percent in range(50, 100, 5))
"""Each the double nearest to its decimal, as is the quotient of two counts: an IoU of exactly 11/20 reaches 0.55."""

AREA_BANDS: Final = {"small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, float("inf"))}
"""COCO's bands of object area in image pixels, lower bound included."""


def miou(ious: Values) -> float:
    """Mean over samples; NaN of none."""
    return float(np.mean(ious)) if ious.size else float("nan")


def hit_rate_50_95(ious: Values, has_object: Flags | None = None) -> float:
    """The protocol's "mAP": mean share of samples that reach each threshold. Samples without an object are left out.

    NaN if no sample is left.
    """
    counted = ious if has_object is None else ious[has_object]
    if counted.size == 0:
        return float("nan")
    return float(np.mean([np.mean(counted >= threshold) for threshold in HIT_THRESHOLDS]))


@dataclass(frozen=True, slots=True)
class BandIou:
    """mIoU of the objects of one size."""

    miou: float  # NaN without samples
    samples: int


def iou_by_area(ious: Values, areas: Values) -> dict[str, BandIou]:
    """By ``AREA_BANDS``. areas: annotated object areas in image pixels, [N] like ``ious``."""
    bands = {}
    for name, (low, high) in AREA_BANDS.items():
        chosen = ious[(areas >= low) & (areas < high)]
        bands[name] = BandIou(miou(chosen), chosen.size)
    return bands


PUBLISHED: Final = WindowPolicy(border=Border.AUTHORS).label
"""The label of the published protocol's windows: 96 pixels round a point."""


def metric_name(name: str, border: Border, label: str = PUBLISHED) -> str:
    """``name`` itself for the published windows and rule, else with what differs: mask_ap, mask_ap_pad, mask_ap_box_pad."""
    parts = [name, *([label] if label != PUBLISHED else []), *([border.value] if border is not Border.AUTHORS else [])]
    return "_".join(parts)


def miou_name(border: Border | None, label: str = PUBLISHED) -> str:
    """miou_96, miou_96_pad, miou_box_pad; without a rule miou_96_unclipped, over windows that are the same under every rule."""
    name = f"miou_{label}"
    return f"{name}_unclipped" if border is None else metric_name(name, border)


def scores(
    ious: Values, *, border: Border, clipped: Flags, has_object: Flags | None = None, label: str = PUBLISHED
) -> dict[str, float]:
    """All figures of one evaluation with windows of ``label`` under ``border``, by the names that every job kind uses.

    ious: [N]; clipped: the windows' ``clipped``, [N]; has_object: False where the truth is empty, [N]. Figures without a
    sample are left out: a NaN in a chart says nothing.
    """
    found = {
        miou_name(border, label): miou(ious),
        metric_name("hit_rate_50_95", border, label): hit_rate_50_95(ious, has_object),
        miou_name(None, label): miou(ious[~clipped]),
    }
    return {name: value for name, value in found.items() if not np.isnan(value)}
