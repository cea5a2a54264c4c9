"""Pictures of an evaluation. One colour is one model, the same in all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.picosam.evaluation.compare import Difference
from shared.picosam.figures import AREA_BANDS, Values, iou_by_area
from shared.picosam.pictures import COLOURS, new_figure, save_figure

_THRESHOLDS: Final = np.linspace(0, 1, 101)


def size_bars(ious: Mapping[str, Values], areas: Values, path: Path) -> None:
    """mIoU by COCO's sizes of object, a bar per model. ious: [N] by model's name; areas: [N], image pixels."""
    figure, (axis,) = new_figure(1, "mIoU by object size", height=3.4)
    width = 0.8 / len(ious)
    for number, (name, values) in enumerate(ious.items()):
        bands = iou_by_area(values, areas)
        places = np.arange(len(AREA_BANDS)) + (number - (len(ious) - 1) / 2) * width
        heights = [band.miou if band.samples else 0.0 for band in bands.values()]
        drawn = axis.bar(places, heights, width * 0.92, color=_colour(number), label=name)
        axis.bar_label(drawn, [f"{height:.2f}" for height in heights], fontsize=7)
    counts = iou_by_area(areas, areas)
    axis.set_xticks(range(len(AREA_BANDS)), [f"{name}\n{counts[name].samples} samples" for name in AREA_BANDS])
    axis.set_ylim(0, 1)
    axis.set_ylabel("mIoU")
    _legend(axis)
    save_figure(figure, path)


def hit_curve(ious: Mapping[str, Values], path: Path) -> None:
    """The share of samples that reach each IoU, a line per model; the protocol's hit rate averages it over 0.50..0.95."""
    figure, (axis,) = new_figure(1, "Share of samples that reach an IoU", height=3.4)
    axis.axvspan(0.5, 0.95, color="#f0f0f0")
    for number, (name, values) in enumerate(ious.items()):
        shares = [float(np.mean(values >= threshold)) for threshold in _THRESHOLDS]
        axis.plot(_THRESHOLDS, shares, color=_colour(number), label=name)
    axis.set_xlabel("IoU")
    axis.set_ylabel("share of samples")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    _legend(axis)
    save_figure(figure, path)


def jitter_curves(panels: Mapping[str, Mapping[str, Mapping[float, float]]], path: Path) -> None:
    """mIoU by how far prompts are off, a panel per figure, a line per model: {figure: {model: {share: mIoU}}}."""
    figure, axes = new_figure(len(panels), "mIoU by prompt noise", height=3.4)
    for axis, (figure_name, lines) in zip(axes, panels.items(), strict=True):
        for number, (name, points) in enumerate(lines.items()):
            shares = sorted(points)
            heights = [points[share] for share in shares]
            axis.plot([100 * share for share in shares], heights, color=_colour(number), label=name, marker="o", markersize=3)
        axis.set_title(figure_name, fontsize=9)
        axis.set_xlabel("noise, % of the object's box")
        axis.set_ylim(0, 1)
    axes[0].set_ylabel("mIoU")
    _legend(axes[0])
    save_figure(figure, path)


def difference_forest(differences: Mapping[str, Difference], first: str, confidence: float, path: Path) -> None:
    """Each difference of mIoU to the model ``first`` with its interval, by a name that says model and figure."""
    figure, (axis,) = new_figure(1, f"mIoU less that of {first}", height=1.2 + 0.3 * len(differences))
    figure.set_figwidth(6.4)
    axis.axvline(0, color="#282828", linewidth=0.8)
    for row, each in enumerate(differences.values()):
        sure = each.low > 0 or each.high < 0
        axis.plot([each.low, each.high], [row, row], color=COLOURS[0 if sure else 4], linewidth=2)
        axis.plot([each.mean], [row], color=COLOURS[0 if sure else 4], marker="o", markersize=5)
    axis.set_yticks(range(len(differences)), list(differences), fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel(f"difference of mIoU with its {100 * confidence:g} % interval (images resampled)", fontsize=8)
    save_figure(figure, path)


def extremes(ious: Values, count: int) -> dict[str, Sequence[int]]:
    """Rows of the ``count`` worst, median and best samples, each from worse to better, no row twice if there are enough."""
    order = np.argsort(ious, kind="stable")
    count = min(count, len(order))
    middle = max(0, (len(order) - count) // 2)
    parts = {"worst": order[:count], "median": order[middle : middle + count], "best": order[len(order) - count :]}
    return {name: rows.tolist() for name, rows in parts.items()}


def _colour(number: int) -> str:
    return str(COLOURS[number % len(COLOURS)])


def _legend(axis: Any) -> None:
    axis.legend(fontsize=7, frameon=False)
