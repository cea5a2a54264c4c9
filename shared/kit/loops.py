"""Periodic work inside a service, one thread each: sweeps, retention, outboxes.

Any number of replicas may run; a tick that must run once at a time takes a lease in the database itself.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Loop(Generic[T]):
    """``tick(services)`` every ``every_s(services)`` seconds, and at once after ``LoopRunner.wake(name)``.

    A tick that listens for something may stay inside until the runner's ``stopping`` is set. What it raises is logged,
    and the loop goes on.
    """

    name: str
    every_s: Callable[[T], float]
    tick: Callable[[T], None]


class LoopRunner(Generic[T]):
    """Runs loops in daemon threads from ``start`` to ``stop``."""

    def __init__(self, loops: Sequence[Loop[T]], stopping: threading.Event) -> None:
        self._loops = loops
        self._stopping = stopping
        self._wakes = {loop.name: threading.Event() for loop in loops}
        self._threads: list[threading.Thread] = []

    def start(self, services: T) -> None:
        """Start one thread per loop; the first tick runs at once."""
        for loop in self._loops:
            thread = threading.Thread(target=self._run, args=(loop, services), name=f"loop-{loop.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def wake(self, name: str) -> None:
        """Let the next tick of ``name`` run now. A name that is not run here is ignored."""
        if name in self._wakes:
            self._wakes[name].set()

    def stop(self, timeout_s: float = 5) -> None:
        """Let running ticks end, start no more; a tick that hangs is left behind."""
        self._stopping.set()
        for wake in self._wakes.values():
            wake.set()
        for thread in self._threads:
            thread.join(timeout_s)

    def _run(self, loop: Loop[T], services: T) -> None:
        wake = self._wakes[loop.name]
        while not self._stopping.is_set():
            wake.clear()
            try:
                loop.tick(services)
            except Exception:
                log.exception("loop.failed", loop=loop.name)
            wake.wait(loop.every_s(services))
