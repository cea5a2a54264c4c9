"""How large phases are, and which phase a camera is in. Pure: whole numbers only, no clock, no database.

Each camera has a rank in a rollout, a hash of both. The cameras of phase 1 are those of the lowest ranks, and so on: stable
within a rollout, other canaries in the next. When a rollout is planned, each phase's size becomes a bound, the highest rank in
it, so that cameras which come later have their place without moving anybody else's.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Final

from shared.contracts.rollouts import PhaseIn

RANKS: Final = 2**63
"""Ranks are below this."""


def rank_of(camera_id: str, rollout_id: str) -> int:
    """The camera's place in the rollout: 63 bits that look random, the same each time."""
    digest = hashlib.sha256(f"{rollout_id}/{camera_id}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1


def sizes(phases: Sequence[PhaseIn], cameras: int) -> list[int]:
    """How many cameras each phase and those before it have.

    Shares are rounded up, and each phase has at least one camera more than the one before as long as there are any.
    """
    reached, found = 0, list[int]()
    for phase in phases:
        reached = min(cameras, max(_wanted(phase, cameras), reached + 1))
        found.append(reached)
    return found


def _wanted(phase: PhaseIn, cameras: int) -> int:
    if phase.count is not None:
        return phase.count
    # Of the shortest text that is this float: 0.1 is a tenth, not a little more, which would be one camera more.
    return ceil(Fraction(repr(phase.percent)) * cameras / 100)


def bounds(phases: Sequence[PhaseIn], ranks: Sequence[int]) -> list[int]:
    """The highest rank in each phase; -1 where nobody is in it or in those before. ``ranks``: of all cameras, sorted."""
    ends = [ranks[size - 1] if size else -1 for size in sizes(phases, len(ranks))]
    return [RANKS - 1 if phase.percent == 100 else end for phase, end in zip(phases, ends, strict=True)]


def phase_at(rank: int, ends: Sequence[int]) -> int | None:
    """The phase of a camera, counted from 1; None beyond the last."""
    index = bisect_left(ends, rank)
    return index + 1 if index < len(ends) else None


def joining(rank: int, ends: Sequence[int], phases: Sequence[PhaseIn], current: int) -> int | None:
    """The phase of a camera that comes late; ``current`` if its own is over; None if it has no place.

    Phases by count are full.
    """
    own = phase_at(rank, ends)
    while own is not None and phases[own - 1].percent is None:
        own = own + 1 if own < len(phases) else None
    return None if own is None else max(own, current)
