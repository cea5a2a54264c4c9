"""Simulated cameras as a person sees them: counts while they live, tables when they have ended."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from shared.client.cli.common import err, escaped, out, print_json, table
from shared.client.simulator.camera import Stage
from shared.client.simulator.simulation import Simulation

PLAIN_EVERY_S: Final = 10.0
_COLOURS: Final = {
    Stage.RUNNING: "green",
    Stage.FAILED: "red",
    Stage.SHUT_OUT: "red",
    Stage.RESTORED: "magenta",
    Stage.CANCELLED: "yellow",
    Stage.NEW: "dim",
    Stage.IDLE: "dim",
}


class View(Protocol):
    """Shows how the cameras stand."""

    def update(self, simulation: Simulation) -> None:
        """Now."""


@contextmanager
def view() -> Iterator[View]:
    """The view that fits: one line that changes if a person is at the terminal, else a line every ten seconds."""
    console = err()
    if not sys.stderr.isatty():
        yield PlainCounts(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield LiveCounts(live)


class LiveCounts:
    """One line."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._speed = Speed()

    def update(self, simulation: Simulation) -> None:
        """Draw it anew."""
        self._live.update(Text(f"{stages_in_words(simulation.stages())}   {self._speed.told(simulation.counts())}"))


class PlainCounts:
    """Lines for log files and pipes, where something changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._speed, self._printed_at, self._said = Speed(), 0.0, ""

    def update(self, simulation: Simulation) -> None:
        """Print a line, unless one was printed just before."""
        now, words = time.monotonic(), stages_in_words(simulation.stages())
        if now - self._printed_at >= PLAIN_EVERY_S and words != self._said:
            self._printed_at, self._said = now, words
            self._console.print(f"{words}   {self._speed.told(simulation.counts())}", markup=False)


class Speed:
    """Polls per second since the last look."""

    def __init__(self) -> None:
        self._at, self._polls = time.monotonic(), 0

    def told(self, counts: dict[str, int]) -> str:
        """In words, with what went wrong."""
        now, polls = time.monotonic(), counts.get("polls", 0)
        per_s = (polls - self._polls) / max(now - self._at, 1e-6)
        self._at, self._polls = now, polls
        wrong = {"refused": "refused", "server_errors": "server errors", "unreachable": "without an answer"}
        told = [f"{counts[kind]} {words}" for kind, words in wrong.items() if counts.get(kind)]
        return ", ".join([f"{per_s:.0f} polls/s", *told])


def stages_in_words(stages: dict[Stage, int]) -> str:
    """As ``48 running, 2 failed``, in the order of a camera's life."""
    return ", ".join(f"{stages[stage]} {stage.value.replace('_', ' ')}" for stage in Stage if stages.get(stage))


def show_simulation(simulation: Simulation) -> None:
    """How it ended: cameras by stage and package, and what was asked."""
    standing = Counter(simulation.states().values())
    order = list(Stage)
    rows = [
        [_coloured(stage), escaped(package or "none"), str(number)]
        for (stage, package), number in sorted(standing.items(), key=lambda each: (order.index(each[0][0]), each[0][1] or ""))
    ]
    out().print(table(["state", "runs", "cameras"], rows))
    counts = simulation.counts()
    err().print(", ".join(f"{number} {kind.replace('_', ' ')}" for kind, number in sorted(counts.items())))
    for status, words in sorted(simulation.complaints().items()):
        err().print(escaped(f"HTTP {status}, last: {words}" if status else f"No answer, last: {words}"))


def show_json(simulation: Simulation) -> None:
    """The same for programs, each camera for itself."""
    cameras = {name: {"state": stage.value, "package": package} for name, (stage, package) in simulation.states().items()}
    stages = {stage.value: number for stage, number in simulation.stages().items()}
    complaints = {str(status): words for status, words in simulation.complaints().items()}
    print_json({"stages": stages, "counts": simulation.counts(), "complaints": complaints, "cameras": cameras})


def _coloured(stage: Stage) -> str:
    words = stage.value.replace("_", " ")
    return f"[{_COLOURS[stage]}]{words}[/]" if stage in _COLOURS else words
