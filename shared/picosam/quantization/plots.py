"""Pictures of what quantization does to a network's layers and masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from shared.picosam.pictures import COLOURS, new_figure, save_figure
from shared.picosam.quantization.layers import Layer

_ROW: Final = 0.19
"""Inches per layer."""


def noise_bars(layers: Sequence[Layer], path: Path) -> None:
    """Signal to quantization noise of what each layer hands on, and of its kernel, in dB: short bars are bad."""
    rows = [layer for layer in layers if layer.activation_sqnr_db is not None or layer.weight_sqnr_db is not None]
    figure, (activations, kernels) = _by_layer(rows, "Signal to quantization noise by layer")
    for axis, name, colour in ((activations, "activation_sqnr_db", COLOURS[0]), (kernels, "weight_sqnr_db", COLOURS[1])):
        for row, layer in enumerate(rows):
            if (height := getattr(layer, name)) is not None:
                axis.barh([row], [height], color=colour, height=0.7)
    activations.set_xlabel("of what it hands on, dB", fontsize=8)
    kernels.set_xlabel("of its kernel, dB", fontsize=8)
    save_figure(figure, path)


def range_bars(layers: Sequence[Layer], path: Path) -> None:
    """What each layer hands on beside what its quantizer knows, and the spread of its channels' largest weights."""
    rows = [layer for layer in layers if layer.limit is not None or layer.weight_ranges]
    figure, (activations, kernels) = _by_layer(rows, "Ranges by layer")
    for row, layer in enumerate(rows):
        _activation_range(activations, row, layer)
        if layer.weight_ranges:
            low, middle, high = np.quantile(layer.weight_ranges, (0, 0.5, 1))
            kernels.plot([low, high], [row, row], color=COLOURS[1], linewidth=2)
            kernels.plot([middle], [row], color=COLOURS[1], marker="o", markersize=4)
    activations.set_xlabel("activations (bar), limits of the quantizer (ticks)", fontsize=8)
    kernels.set_xlabel("largest weight of each channel: least, median, most", fontsize=8)
    kernels.set_xscale("log")
    save_figure(figure, path)


def _activation_range(axis: Any, row: int, layer: Layer) -> None:
    if layer.low is not None and layer.high is not None:
        axis.barh([row], [layer.high - layer.low], left=[layer.low], color=COLOURS[0], height=0.6)
    if layer.limit is not None:
        ends = [layer.limit] if layer.low is None or layer.low >= 0 else [-layer.limit, layer.limit]
        axis.plot(ends, [row] * len(ends), color=COLOURS[1], marker="|", markersize=8, linestyle="none")


def _by_layer(layers: Sequence[Layer], title: str) -> tuple[Any, Any]:
    """Two panels with a row per layer, the first layer at the top."""
    figure, axes = new_figure(2, title, height=1.2 + _ROW * max(4, len(layers)))
    figure.set_figwidth(8.4)
    for number, axis in enumerate(axes):
        axis.set_yticks(range(len(layers)), [layer.name if number == 0 else "" for layer in layers], fontsize=7)
        axis.set_ylim(len(layers) - 0.5, -0.5)
    return figure, axes
