"""Loops in processes of their own that take turns of a few steps: what slows the machine for a while slows all of them, and
only one runs at a time."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

from tests.bench.table import Measured

ROUNDS = 5
TURN = 12
"""Steps per turn."""

UNTIMED = 4
"""The first steps of a turn: their batches were made while others had their turn."""

Way = TypeVar("Way")


def take_turns(commands: Mapping[Way, tuple[Sequence[str], Mapping[str, str]]]) -> list[dict[Way, dict[str, float]]]:
    """What each process printed in each round. ``commands``: arguments of python, and additions to the environment."""
    children = {way: _start(arguments, environment) for way, (arguments, environment) in commands.items()}
    try:
        taken = [{way: _turn(child) for way, child in children.items()} for _ in range(ROUNDS + 1)]
    finally:
        for child in children.values():
            child.communicate()  # closes its input, upon which it ends
    return taken[1:]  # in the first the allocator and the convolutions' kernels find their place


def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def _turn(child: subprocess.Popen[str]) -> dict[str, float]:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write("\n")
    child.stdin.flush()
    return dict(json.loads(child.stdout.readline()))


def row(name: str, taken: Sequence[Mapping[str, float]]) -> Measured:
    """One process's rounds as a row of the table."""
    notes = {
        "data loading": f"{100 * max(one['waited_share'] for one in taken):.1f} % of the step",
        "peak memory": f"{max(one['peak_mb'] for one in taken):.0f} MB",
    }
    return Measured(name=name, rates=[one["images_per_s"] for one in taken], notes=notes)


class Turns:
    """In the child: waits for its turns, and prints one line of JSON after each."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._taken: list[tuple[float, float]] = []

    def add(self, seconds: float, waited_s: float) -> None:
        """One step's time, and how much of it went into data."""
        self._taken.append((seconds, waited_s))

    def is_over(self) -> bool:
        """Asked before each step; True once the parent has closed the pipe."""
        if len(self._taken) % TURN:
            return False
        if self._taken:
            self._print()
        return not sys.stdin.readline()

    def _print(self) -> None:
        steps, waits = zip(*self._taken[-TURN + UNTIMED :], strict=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
        rate = self._batch_size * len(steps) / sum(steps)
        print(json.dumps({"images_per_s": rate, "waited_share": sum(waits) / sum(steps), "peak_mb": peak}), flush=True)
