"""Letting cameras in: whose turn it is, as fast as the rate limit allows, and one package per camera at a time."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import exists, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from services.fleet.actions.models import Action
from services.fleet.actions.moves import move_all, release, request_cancel
from services.fleet.rollouts import repository
from services.fleet.rollouts.models import RolloutPhase
from services.fleet.rollouts.rate import begun, earned
from services.fleet.rollouts.work import Work
from shared.contracts.rollouts import ActionKind, ActionState, PhaseState

BEGUN = (PhaseState.RUNNING, PhaseState.SOAKING, PhaseState.DONE)


def earn(work: Work, *, succeeded: int) -> None:
    """Time has passed since the last tick: so many more cameras may be let in."""
    before = work.memory.allowance or begun(work.spec.rate)
    work.keep(work.memory.with_allowance(earned(work.spec.rate, before, now=work.now, succeeded=succeeded)))


def let_in(work: Work) -> bool:
    """Let in the next cameras that are free, within what was earned; the others are freed where priority allows."""
    allowance = work.memory.allowance
    allowed = min(allowance.cameras, work.rows) if allowance else 0
    if not allowance or allowed == 0:
        return False
    candidates = _candidates(work, allowed)
    _supersede(work, candidates)
    let = let_go(work, candidates)
    work.keep(work.memory.with_allowance(allowance.spent(len(let))))
    return len(candidates) == work.rows and bool(let)


def _candidates(work: Work, limit: int) -> Sequence[int]:
    """Actions whose turn it is and whose camera is free, or at something that gives way."""
    other = aliased(Action)
    stays = or_(other.priority >= work.rollout.priority, other.cancel_requested_at.is_not(None))
    kept = exists().where(other.camera_id == Action.camera_id, other.active, stays)
    numbers = select(RolloutPhase.number).where(RolloutPhase.rollout_id == work.id, RolloutPhase.state.in_(BEGUN))
    phases = work.session.scalars(numbers.order_by(RolloutPhase.number)).all()
    found: list[int] = []
    for phase in phases:  # one by one: the index gives them in order only so
        mine = (*repository.installs(work.id), Action.phase == phase, repository.TURN_TO_COME)
        query = select(Action.id).where(*mine, ~kept).order_by(Action.rank).limit(limit - len(found))
        found.extend(work.session.scalars(query))
        if len(found) >= limit:
            break
    return found


def _supersede(work: Work, candidates: Sequence[int]) -> None:
    """Of two rollouts that want a camera the one with the higher priority has it."""
    mine = aliased(Action)
    lower = (
        select(Action.id, Action.state, Action.active)
        .join(mine, (mine.camera_id == Action.camera_id) & (mine.id != Action.id))
        .where(mine.id.in_(candidates), Action.priority < work.rollout.priority, Action.kind == ActionKind.INSTALL)
        .where(or_(Action.active, Action.state == ActionState.PENDING))
    )
    rows = work.session.execute(lower).all()
    unseen = [row.id for row in rows if row.state == ActionState.PENDING]
    move_all(
        work.session,
        unseen,
        ActionState.SUPERSEDED,
        expected={ActionState.PENDING},
        message=f"rollout {work.rollout.name} of priority {work.rollout.priority} takes the camera",
    )
    request_cancel(work.session, [row.id for row in rows if row.state != ActionState.PENDING])


def let_go(work: Work, action_ids: Sequence[int]) -> list[int]:
    """Show these actions to their cameras, where they are free; the ids of those that were shown."""
    deadline = work.now + timedelta(seconds=work.spec.deadline_s)
    try:
        with work.session.begin_nested():
            return release(work.session, action_ids, deadline_at=deadline)
    except IntegrityError:
        return []  # another rollout was quicker with one of these cameras; the next tick sees it
