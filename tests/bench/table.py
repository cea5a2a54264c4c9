"""Tables of repeated measurements: median and spread, and how many times better than the first row."""

import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from tabulate import tabulate

from shared.picosam.placement import has_fast_bf16


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One way of doing the work. ``rates``: one figure per round, higher is better; ``notes``: further columns."""

    name: str
    rates: list[float]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.rates)

    @property
    def spread(self) -> str:
        """Lowest to highest round."""
        return f"{min(self.rates):.1f} .. {max(self.rates):.1f}"


def ratio(better: Measured, plain: Measured) -> float:
    """Median over rounds of the ratio within a round: what slows the machine for a while slows both."""
    return statistics.median(a / b for a, b in zip(better.rates, plain.rates, strict=True))


def print_table(title: str, unit: str, rows: Sequence[Measured], *, compare: bool = True) -> None:
    """The first row is what the others are compared with."""
    lines = []
    for row in rows:
        times = {"ratio": f"{ratio(row, rows[0]):.2f}"} if compare else {}
        lines.append({"": row.name, f"median {unit}": f"{row.median:.1f}", "spread": row.spread} | times | row.notes)
    print(f"\n{title}\n{machine()}")
    print(tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True), flush=True)


def print_goal(what: str, reached: str, met: bool) -> None:
    """One line per goal: a person and a log search both find it."""
    print(f"goal {'met' if met else 'MISSED'}: {what}: {reached}", flush=True)


def machine() -> str:
    """What the figures were taken on."""
    bf16 = "bfloat16 in hardware" if has_fast_bf16(torch.device("cpu")) else "no bfloat16 in hardware"
    return f"{torch.get_num_threads()} threads, {platform.machine()}, {bf16}, torch {torch.__version__}"
