"""What cameras are returned to: a package that has outlived a phase's soak is the last good one of the phase's cameras."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import ColumnElement, func, or_, select, update
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera
from services.fleet.rollouts import repository
from services.fleet.rollouts.memory import Memory
from services.fleet.rollouts.models import Rollout, RolloutPhase
from services.fleet.rollouts.work import Work, once
from services.fleet.runtime import Services
from shared.contracts.rollouts import ActionState, PhaseState, RolloutIn, RolloutState
from shared.kit.database import begin_reading, db_now

READ_AT_ONCE: Final = 20_000
EVERY: Final = 10
"""Ticks between two looks for cameras that succeeded after their phase was done."""

STATES: Final = (RolloutState.RUNNING, RolloutState.FINISHED)


def settle_done(services: Services, rollout_id: str) -> bool:
    """For each phase that is done: once, and every few ticks for cameras that succeeded later. True if there was one."""
    with services.sessions.begin() as session:
        begin_reading(session)
        rollout = repository.find(session, rollout_id)
        if rollout is None or not rollout.planned:
            return False
        memory, now = Memory.model_validate(rollout.budget), db_now(session)
        phases = repository.phases(session, [rollout_id])[rollout_id]
        done = [phase for phase in phases if phase.state == PhaseState.DONE]
        again = memory.settled_at is None or now - memory.settled_at >= timedelta(seconds=EVERY * services.settings.tick_s)
        if not done or not (again or any(phase.number not in memory.settled for phase in done)):
            return False
        running = _running(session, rollout_id)
    behind = [phase for phase in done if running.get(phase.number, 0) != memory.settled.get(phase.number)]
    for phase in behind:
        _settle(services, rollout, phase)
    return bool(behind)


def _running(session: Session, rollout_id: str) -> dict[int, int]:
    standings = repository.standings(session, [rollout_id])
    return {number: each.installs.get(ActionState.RUNNING, 0) for (_, number), each in standings.items() if number is not None}


def _settle(services: Services, rollout: Rollout, phase: RolloutPhase) -> None:
    cursor, rows = 0, services.settings.tick_rows
    while ids := _unsettled(services, rollout, phase, after=cursor):
        for start in range(0, len(ids), rows):
            once(services, rollout.id, partial(_note, action_ids=ids[start : start + rows]), STATES)
        cursor = ids[-1]
    once(services, rollout.id, partial(_remember, phase=phase), STATES)


def _unsettled(services: Services, rollout: Rollout, phase: RolloutPhase, *, after: int) -> Sequence[int]:
    with services.sessions.begin() as session:
        begin_reading(session)
        soaked = _soaked(rollout, phase, db_now(session))
        query = (
            select(Action.id).join(Camera, Camera.id == Action.camera_id).where(*soaked, _differs(rollout), Action.id > after)
        )
        return session.scalars(query.order_by(Action.id).limit(READ_AT_ONCE)).all()


def _soaked(rollout: Rollout, phase: RolloutPhase, now: datetime) -> list[ColumnElement[bool]]:
    """Of actions that succeeded before the phase was done; of the others, of those that have soaked on their own."""
    spec = RolloutIn.model_validate(rollout.spec).phases[phase.number - 1]
    soaked = or_(Action.succeeded_at <= phase.ended_at, Action.succeeded_at <= now - timedelta(seconds=spec.soak_s))
    return [*_mine(rollout.id), Action.phase == phase.number, soaked]


def _differs(rollout: Rollout) -> ColumnElement[bool]:
    good = Camera.last_good_package_id.is_distinct_from(rollout.package_id)
    return (Camera.current_package_id == rollout.package_id) & good


def _mine(rollout_id: str) -> tuple[ColumnElement[bool], ...]:
    return *repository.installs(rollout_id), Action.state == ActionState.RUNNING.value


def _note(work: Work, action_ids: Sequence[int]) -> bool:
    cameras = select(Action.camera_id).where(*_mine(work.id), Action.id.in_(action_ids))
    good = update(Camera).where(Camera.id.in_(cameras), _differs(work.rollout))
    values = {"last_good_package_id": work.rollout.package_id}
    work.session.execute(good.values(values), execution_options={"synchronize_session": False})
    return False


def _remember(work: Work, phase: RolloutPhase) -> bool:
    count = select(func.count()).select_from(Action).where(*_soaked(work.rollout, phase, work.now))
    settled = work.memory.settled | {phase.number: work.session.scalar(count) or 0}
    work.remember(settled=settled, settled_at=work.now)
    return False
