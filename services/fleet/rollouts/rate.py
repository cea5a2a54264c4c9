"""How many cameras may be let in now. Pure: whole numbers only.

Time is turned into credit; letting a camera in costs some. Credit is earned between ticks that are close to each other, and
only so much of it is kept, so that nothing bursts after a pause.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import Final

from shared.contracts.rollouts import RateLimit

CAMERA: Final = 60_000_000
"""What a camera costs: a rate of one per minute earns one in every microsecond."""

KEPT: Final = timedelta(seconds=10)
"""Credit is kept for so long: a minute never sees more than 7/6 of the rate."""

_SECOND: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the limit remembers between ticks."""

    rate: int
    """Cameras per minute, now."""
    credit: int
    at: datetime | None = None
    """Until when credit was earned; None: from now on."""
    succeeded: int = 0
    """Cameras that had succeeded when the rate became what it is."""

    @property
    def cameras(self) -> int:
        """How many may be let in."""
        return self.credit // CAMERA

    def spent(self, cameras: int) -> "Allowance":
        """After these were let in."""
        return replace(self, credit=self.credit - cameras * CAMERA)

    def paused(self) -> "Allowance":
        """Nothing is earned until the next tick, and nothing is left over."""
        return replace(self, credit=_at_first(self.rate), at=None)


def begun(limit: RateLimit) -> Allowance:
    """The allowance of a rollout that starts: a second's worth, at least one camera."""
    rate = min(limit.per_minute, limit.max_per_minute)
    return Allowance(rate=rate, credit=_at_first(rate))


def _at_first(rate: int) -> int:
    return max(CAMERA, rate * _SECOND)


def earned(limit: RateLimit, before: Allowance, *, now: datetime, succeeded: int) -> Allowance:
    """The allowance at ``now``, when so many cameras have ``succeeded`` in all."""
    grown = _grown(limit, before, succeeded)
    passed = min(max(now - before.at, timedelta()), KEPT) if before.at else timedelta()
    most = max(CAMERA, grown.rate * (KEPT // timedelta(microseconds=1)))
    credit = before.credit + before.rate * (passed // timedelta(microseconds=1))
    return replace(grown, credit=min(credit, most), at=max(now, before.at) if before.at else now)


def _grown(limit: RateLimit, before: Allowance, succeeded: int) -> Allowance:
    if limit.growth == 1 or before.rate >= limit.max_per_minute or succeeded - before.succeeded < before.rate:
        return before
    faster = max(before.rate + 1, ceil(Fraction(repr(limit.growth)) * before.rate))
    return replace(before, rate=min(faster, limit.max_per_minute), succeeded=succeeded)
