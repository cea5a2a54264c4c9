"""Counts units of work into progress reports with rate and time left."""

import time
from dataclasses import dataclass, field

from shared.contracts.jobs import Progress
from workers.harness.context import JobContext

_EVERY_S = 0.2


@dataclass(slots=True)
class Meter:
    """A progress callback ``meter(done, total)`` for one phase; reports at most five times a second, and the end always."""

    ctx: JobContext
    phase: str
    unit: str
    kept: int = 0
    """Units that were done before the meter was made: they say nothing about the rate."""
    _started: float = field(default_factory=time.monotonic)
    _reported: float = 0.0

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` units are done."""
        now = time.monotonic()
        if now - self._reported < _EVERY_S and done < total:
            return
        self._reported = now
        made = done - self.kept
        rate = made / (now - self._started) if made > 0 and now > self._started else None
        eta_s = (total - done) / rate if rate else None
        self.ctx.report(Progress(phase=self.phase, done=done, total=total, unit=self.unit, rate=rate, eta_s=eta_s))


@dataclass(slots=True)
class Counter:
    """Adds batches up for a meter."""

    meter: Meter
    total: int
    done: int = 0

    def __call__(self, units: int) -> None:
        """``units`` more are done."""
        self.done += units
        self.meter(self.done, self.total)
