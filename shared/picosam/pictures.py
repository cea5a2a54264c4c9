"""Pictures that a person compares between runs. Each brings its own light ground, so it reads the same on light and dark pages.

Drawn with Pillow and with matplotlib's Agg canvas, without pyplot: no display, no global state, safe in threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from shared.picosam.metrics import AREA_BANDS, Values, miou
from shared.picosam.prompt import ImageArray, MaskArray, Position

TILE: Final = 144
"""Pixels per window in the sample grid."""
GAP: Final = 6
CAPTION: Final = 18
GROUND: Final = (250, 250, 250)
INK: Final = (40, 40, 40)
PREDICTED: Final = (0, 114, 178)
TRUE: Final = (213, 94, 0)
"""Okabe and Ito's blue and vermilion: told apart by colour-blind people too."""

_HEX: Final = {"predicted": "#0072b2", "true": "#d55e00", "third": "#009e73", "ground": "#fafafa", "ink": "#282828"}
COLOURS: Final = (_HEX["predicted"], _HEX["true"], _HEX["third"], "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One window with its prompt and both masks."""

    image: ImageArray  # [S, S, 3]
    prompt: Position  # in cells of the window
    predicted: MaskArray  # [S, S]
    truth: MaskArray  # [S, S]
    iou: float
    label: str = ""  # as the object's id or category


_MASKS: Final = ("predicted mask", "true mask")


def sample_grid(samples: Sequence[Sample], path: Path, *, columns: int = 3, masks: tuple[str, str] = _MASKS) -> None:
    """A PNG: per sample the window with its prompt, the network's mask and the true mask, and the IoU below.

    ``masks``: what the two masks are called, where they are others.
    """
    rows = max(1, -(-len(samples) // columns))
    cell = 3 * TILE + 4 * GAP, TILE + CAPTION + 2 * GAP
    sheet = Image.new("RGB", (columns * cell[0], rows * cell[1] + CAPTION + GAP), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    draw.text((GAP, GAP), f"window and prompt | {masks[0]} (blue) | {masks[1]} (orange)", fill=INK, font=font)
    for number, sample in enumerate(samples):
        x, y = number % columns * cell[0] + GAP, number // columns * cell[1] + CAPTION + 2 * GAP
        for position, tile in enumerate(_tiles(sample)):
            sheet.paste(tile, (x + position * (TILE + GAP), y))
        draw.text((x, y + TILE + 2), f"IoU {sample.iou:.2f}  {sample.label}"[:60], fill=INK, font=font)
    _save(sheet, path)


def _tiles(sample: Sample) -> list[Image.Image]:
    """Window with prompt, window under the predicted mask, window under the true mask."""
    size = sample.image.shape[0]
    window = _scaled(sample.image)
    x, y = (position * TILE / size for position in sample.prompt)
    draw = ImageDraw.Draw(window)
    for radius, colour in ((6, (255, 255, 255)), (4, (220, 0, 0))):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    masks = ((sample.predicted, PREDICTED), (sample.truth, TRUE))
    return [window, *(_scaled(_tinted(sample.image, mask, colour)) for mask, colour in masks)]


def _tinted(image: ImageArray, mask: MaskArray, colour: tuple[int, int, int]) -> ImageArray:
    """The mask's pixels half coloured, the rest grey and paler, so that the object stands out on any picture."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.5 + 90
    tint = image * 0.4 + np.array(colour) * 0.6
    mixed: NDArray[Any] = np.where(mask[:, :, None], tint, grey)
    return mixed.clip(0, 255).astype(np.uint8)


def _scaled(image: ImageArray) -> Image.Image:
    return Image.fromarray(image).resize((TILE, TILE), Image.Resampling.NEAREST)


def _save(sheet: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, format="PNG", optimize=True)


def iou_histogram(ious: Values, areas: Values, path: Path) -> None:
    """A PNG: how many samples reach which IoU, by COCO's sizes of object. ious, areas (image pixels): [N]."""
    figure, axes = new_figure(3, "IoU by object size", height=3.2)
    edges = np.linspace(0, 1, 21)
    for axis, (name, (low, high)), colour in zip(axes, AREA_BANDS.items(), COLOURS, strict=False):
        chosen = ious[(areas >= low) & (areas < high)]
        axis.hist(chosen, bins=edges, color=colour)
        mean = f", mean {miou(chosen):.3f}" if chosen.size else ""
        axis.set_title(f"{name}: {chosen.size} samples{mean}", fontsize=9)
        axis.set_xlabel("IoU")
        axis.set_xlim(0, 1)
    axes[0].set_ylabel("samples")
    save_figure(figure, path)


def reliability(groups: Mapping[str, tuple[Values, Values]], path: Path) -> None:
    """A PNG: the mean IoU of groups of masks over their mean confidence, by what the confidence is; best on the diagonal.

    groups: (mean confidence, mean IoU) of each group, by the confidence's name.
    """
    figure, (axis,) = new_figure(1, "Confidence and IoU", height=3.6)
    axis.plot([0, 1], [0, 1], color=_HEX["ink"], linewidth=0.8)
    for (name, (confidence, iou)), colour in zip(groups.items(), COLOURS, strict=False):
        axis.plot(confidence, iou, color=colour, label=name, marker="o", markersize=4)
    axis.set_xlabel("confidence, mean of a tenth of the masks")
    axis.set_ylabel("their mean IoU")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    if groups:
        axis.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


Series = Mapping[str, Sequence[tuple[int, float]]]
"""Values by step, by name of the metric."""


def curves(losses: Series, ious: Series, path: Path) -> None:
    """A PNG: the losses and the IoU metrics by optimiser step, side by side."""
    figure, axes = new_figure(2, "Training", height=3.6)
    for axis, series, label in zip(axes, (losses, ious), ("loss", "IoU"), strict=True):
        for (name, points), colour in zip(series.items(), COLOURS * (1 + len(series) // len(COLOURS)), strict=False):
            steps, values = [step for step, _ in points], [value for _, value in points]
            axis.plot(steps, values, color=colour, label=name, marker="o" if len(points) < 30 else None, markersize=3)
        axis.set_xlabel("step")
        axis.set_ylabel(label)
        if series:
            axis.legend(fontsize=8, frameon=False)
    save_figure(figure, path)


def new_figure(count: int, title: str, *, height: float) -> tuple[Any, Any]:
    """A figure with ``count`` panels in a row. ``height`` in inches at 110 pixels each."""
    # Imported here: 0.5 s that a job which draws nothing should not pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * count, height), dpi=110, layout="constrained", facecolor=_HEX["ground"])
    FigureCanvasAgg(figure)
    figure.suptitle(title, color=_HEX["ink"], fontsize=11)
    axes = figure.subplots(1, count, squeeze=False)[0]
    for axis in axes:
        axis.set_facecolor("white")
        axis.grid(visible=True, color="#e2e2e2", linewidth=0.6)
        axis.set_axisbelow(True)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    """Write it as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", facecolor=figure.get_facecolor())
