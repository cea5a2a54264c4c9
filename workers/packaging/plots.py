"""The picture of the sensor's memory."""

from pathlib import Path

from shared.contracts.packages import MemoryFigures
from shared.picosam.pictures import COLOURS, new_figure, save_figure


def memory_bar(memory: MemoryFigures, path: Path) -> None:
    """One bar as long as the chip's memory, in MB: maps and code, weights, what is free."""
    figure, (axis,) = new_figure(1, f"Memory of the sensor: {memory.utilization:.1%} in use", height=1.7)
    figure.set_figwidth(7.2)
    free = memory.available_bytes - memory.used_bytes
    parts = {"maps and code": memory.runtime_bytes, "weights": memory.model_bytes, "free": free}
    start = 0.0
    for (name, size_bytes), colour in zip(parts.items(), (*COLOURS[:2], "#d9d9d9"), strict=True):
        megabytes = size_bytes / 1024**2
        axis.barh([0], [megabytes], left=[start], color=colour, label=f"{name} {megabytes:.2f} MB")
        start += megabytes
    axis.set_yticks([])
    axis.set_xlim(0, memory.available_bytes / 1024**2)
    axis.set_xlabel("MB", fontsize=8)
    axis.legend(fontsize=7, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save_figure(figure, path)
