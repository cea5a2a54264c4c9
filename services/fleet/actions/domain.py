"""The states of a camera's action and every allowed move between them. Pure: no clock, no database, no HTTP.

pending -> offered -> downloading -> verifying -> installing -> self_testing -> running
from any of them: failed, cancelled, expired, superseded; running -> failed (it did not outlive the soak)
running, failed -> restoring -> restored
"""

from collections.abc import Mapping
from typing import Final

from shared.contracts.rollouts import ActionState as S

UNDER_WAY: Final = (S.PENDING, S.OFFERED, S.DOWNLOADING, S.VERIFYING, S.INSTALLING, S.SELF_TESTING)
"""In order. Devices may leave steps out, since not all of them report each, but never go back."""

_ENDS: Final = frozenset({S.FAILED, S.CANCELLED, S.EXPIRED, S.SUPERSEDED})


def _after(index: int) -> frozenset[S]:
    return frozenset(UNDER_WAY[index + 1 :]) | {S.RUNNING} | _ENDS


ALLOWED: Final[Mapping[S, frozenset[S]]] = {
    **{state: _after(index) for index, state in enumerate(UNDER_WAY)},
    S.RUNNING: frozenset({S.FAILED, S.RESTORING}),
    S.FAILED: frozenset({S.RESTORING}),
    # What was cut off in its middle may have left anything behind, so these return as well.
    S.CANCELLED: frozenset({S.RESTORING}),
    S.EXPIRED: frozenset({S.RESTORING}),
    S.SUPERSEDED: frozenset({S.RESTORING}),
    S.RESTORING: frozenset({S.RESTORED}),
    S.RESTORED: frozenset(),
}

TOUCHED: Final = frozenset({S.OFFERED, S.DOWNLOADING, S.VERIFYING, S.INSTALLING, S.SELF_TESTING, S.RUNNING, S.FAILED})
"""States in which the camera may have something of the package."""


def may_move(state: S, to: S) -> bool:
    """Whether the state machine has this move."""
    return to in ALLOWED[state]


def is_open(state: S) -> bool:
    """The device still has something to do."""
    return state in UNDER_WAY


def before(to: S) -> frozenset[S]:
    """The states that may move to ``to``."""
    return frozenset(state for state, following in ALLOWED.items() if to in following)
