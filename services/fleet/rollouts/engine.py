"""Advances rollouts: one idempotent tick, on any number of replicas, after any crash.

What is to be done is read out of the rows each time. A tick takes the rollouts that are due one by one; each step of one does a
bounded piece in a transaction that holds the rollout's row (SKIP LOCKED: whoever comes second leaves it), and what it does and
the note of how far it is are written together. So it may be killed between any two statements, and the next tick goes on.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from services.fleet.rollouts import repository
from services.fleet.rollouts.expiring import expire, expire_held, expire_unreturned
from services.fleet.rollouts.planning import call_off, count_cameras, look_round, plan, try_again
from services.fleet.rollouts.progress import advance_phases
from services.fleet.rollouts.releasing import let_in
from services.fleet.rollouts.returning import let_return, make_restores, refuse_deleted, settle
from services.fleet.rollouts.settling import settle_done
from services.fleet.rollouts.statements import fetch
from services.fleet.rollouts.work import Step, Work, in_pieces, once
from services.fleet.runtime import Services
from shared.contracts.rollouts import ActionState, RolloutState
from shared.kit.database import begin_reading

log = structlog.get_logger(__name__)

TICK: Final = "rollouts.tick"
"""Name of the loop, for ``services.wake``."""

QUIET_TICKS: Final = 10
"""A rollout that only waits for deadlines is looked at every so many ticks."""

_RUNNING: Final = RolloutState.RUNNING
_PHASES: Final = in_pieces(advance_phases, _RUNNING)

STEPS: Final[Mapping[RolloutState, Sequence[Step]]] = {
    RolloutState.RUNNING: (
        count_cameras,
        in_pieces(plan, _RUNNING),
        in_pieces(try_again, _RUNNING),
        in_pieces(look_round, _RUNNING),
        in_pieces(expire, _RUNNING),
        in_pieces(expire_held, _RUNNING),
        _PHASES,
        in_pieces(let_in, _RUNNING),
        settle_done,
        _PHASES,
    ),
    RolloutState.PAUSED: (in_pieces(look_round, RolloutState.PAUSED), in_pieces(expire, RolloutState.PAUSED)),
    RolloutState.ABORTED: (in_pieces(call_off, RolloutState.ABORTED), in_pieces(expire, RolloutState.ABORTED)),
    RolloutState.FINISHED: (
        in_pieces(look_round, RolloutState.FINISHED),
        in_pieces(expire, RolloutState.FINISHED),
        settle_done,
    ),
    RolloutState.ROLLING_BACK: (
        in_pieces(call_off, RolloutState.ROLLING_BACK),
        in_pieces(look_round, RolloutState.ROLLING_BACK),
        in_pieces(expire, RolloutState.ROLLING_BACK),
        in_pieces(make_restores, RolloutState.ROLLING_BACK),
        in_pieces(refuse_deleted, RolloutState.ROLLING_BACK),
        fetch,
        in_pieces(let_return, RolloutState.ROLLING_BACK),
        in_pieces(expire_unreturned, RolloutState.ROLLING_BACK),
        in_pieces(settle, RolloutState.ROLLING_BACK),
    ),
    RolloutState.ROLLED_BACK: (),
}


RESTING: Final = tuple(STEPS.keys() - {RolloutState.RUNNING, RolloutState.ROLLING_BACK})
"""States in which nothing goes on but what was begun before."""


def tick(services: Services) -> None:
    """Advance every rollout that is due. What one of them raises does not stop the others."""
    with services.sessions.begin() as session:
        begin_reading(session)
        ids = repository.due(session)
    for rollout_id in ids:
        if services.stopping.is_set():
            return
        try:
            advance(services, rollout_id)
        except Exception:
            log.exception("rollouts.tick_failed", rollout_id=rollout_id)


def advance(services: Services, rollout_id: str) -> None:
    """All that can be done now for a rollout in the state it is in; again where that changed its state."""
    before, state = None, _state(services, rollout_id)
    while state is not None and state != before:
        for step in STEPS.get(state, ()):
            step(services, rollout_id)
        before, state = state, _state(services, rollout_id)
    once(services, rollout_id, _rest, RESTING)


def _state(services: Services, rollout_id: str) -> RolloutState | None:
    with services.sessions.begin() as session:
        begin_reading(session)
        rollout = repository.find(session, rollout_id)
        return RolloutState(rollout.state) if rollout else None


def _rest(work: Work) -> bool:
    """Nothing goes on in it by itself: come back seldom, or never."""
    quiet = work.now + timedelta(seconds=QUIET_TICKS * work.tick_s)
    work.rollout.next_tick_at = quiet if repository.has_open(work.session, work.id) or _unsettled(work) else repository.NEVER
    return False


def _unsettled(work: Work) -> bool:
    """A camera that came late has not outlived its soak."""
    if work.rollout.state != RolloutState.FINISHED:
        return False
    standings = repository.standings(work.session, [work.id])
    return any(
        standing.installs.get(ActionState.RUNNING, 0) != work.memory.settled.get(number, 0)
        for (_, number), standing in standings.items()
        if number is not None
    )
