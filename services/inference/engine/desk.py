"""Admission: so many requests of a deployment at work, so many waiting, the others sent away at once."""

import asyncio
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from services.inference.engine.errors import DeadlineExceeded, Overloaded

T = TypeVar("T")

_SMOOTHING: Final = 0.05
"""Of the running mean of how long a request takes."""


@dataclass(frozen=True, slots=True)
class Turn(Generic[T]):
    """What came of a request, and how long it waited."""

    result: T
    waited_s: float


class Desk:
    """``parallel`` threads, in each of which one request is worked on from its bytes to its answer: no hand-overs between."""

    def __init__(self, name: str, *, parallel: int, max_queue: int) -> None:
        self.parallel, self.max_queue = parallel, max_queue
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix=f"desk-{name}")
        self._lock = threading.Lock()
        self._inside = 0
        self._mean_s = 0.02

    @property
    def inside(self) -> int:
        """Requests at work or waiting."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return max(0, self._inside - self.parallel)

    async def do(self, work: Callable[[bool], T], *, deadline_s: float) -> Turn[T]:
        """Run ``work(alone)`` in a thread; ``alone``: it was the only request when it began.

        Overloaded if the queue is full, DeadlineExceeded if it waited longer than ``deadline_s``.
        """
        with self._lock:
            if self._inside >= self.parallel + self.max_queue:
                raise self._overloaded()
            self._inside += 1
        asked = time.perf_counter()
        # Shielded: whoever hangs up while waiting must not leave the count behind.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._pool, self._work, work, asked, deadline_s))

    def close(self) -> None:
        """Let what is inside end, in its own time; take nothing more."""
        self._pool.shutdown(wait=False)

    def _work(self, work: Callable[[bool], T], asked: float, deadline_s: float) -> Turn[T]:
        begun = time.perf_counter()
        try:
            if begun - asked > deadline_s:
                raise DeadlineExceeded(
                    f"The request waited {1000 * (begun - asked):.0f} ms; its deadline is {1000 * deadline_s:.0f} ms.",
                    waited_ms=round(1000 * (begun - asked)),
                )
            result = work(self._inside == 1)
            self._mean_s += _SMOOTHING * (time.perf_counter() - begun - self._mean_s)
            return Turn(result, begun - asked)
        finally:
            with self._lock:
                self._inside -= 1

    def _overloaded(self) -> Overloaded:
        seconds = max(1, math.ceil(self._mean_s * (self.max_queue + 1) / self.parallel / 2))
        return Overloaded(
            f"{self._inside} requests are at work or waiting, and the queue holds {self.max_queue}.", retry_after_s=seconds
        )
