"""How long to wait before the next try: exponential, with full jitter, so that a fleet does not come back in step.

Full jitter as in https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

from random import Random
from typing import Final

LONGEST_S: Final = 300.0
FIRST_S: Final = 2.0
_MOST_DOUBLINGS: Final = 16
JITTER: Final = 0.1
"""Share by which the pauses between good polls vary."""


class Backoff:
    """Counts failures in a row."""

    def __init__(self, chance: Random, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> None:
        self._chance, self._first_s, self._longest_s = chance, first_s, longest_s
        self.failures = 0

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures = 0

    def failed(self, *, at_least_s: float | None = None) -> float:
        """Seconds to wait: anything up to the present bound. ``at_least_s`` is what the server asked for, within limits."""
        bound = min(self._longest_s, self._first_s * 2.0 ** min(self.failures, _MOST_DOUBLINGS))
        self.failures += 1
        asked = min(max(at_least_s or 0.0, 0.0), 12 * self._longest_s)
        return asked + self._chance.random() * bound

    def around(self, pause_s: float) -> float:
        """``pause_s``, give or take a tenth."""
        return pause_s * (1 - JITTER + 2 * JITTER * self._chance.random())
