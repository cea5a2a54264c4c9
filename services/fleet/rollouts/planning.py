"""Who takes part: each camera gets its action, when the rollout begins or when the camera comes.

First all cameras are counted, which fixes the bounds of the phases; then actions are written piece by piece. What is
written says how far that is, so it goes on after a crash where it was.
"""

from array import array
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import Select, exists, insert, or_, select, update
from sqlalchemy.orm import Session, aliased

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import move_all, request_cancel
from services.fleet.cameras.models import Camera
from services.fleet.rollouts import repository
from services.fleet.rollouts.memory import Memory
from services.fleet.rollouts.models import Rollout, RolloutPhase
from services.fleet.rollouts.sizing import bounds, joining, phase_at, rank_of
from services.fleet.rollouts.work import Work, once
from services.fleet.runtime import Services
from shared.contracts.rollouts import ActionKind, ActionState, PhaseState, RolloutIn, RolloutState
from shared.kit.database import begin_reading

READ_AT_ONCE: Final = 10_000
"""Ids of cameras per transaction that only reads."""

LOOK_EVERY: Final = 10
"""Ticks between two looks for cameras that came or left: they cost a pass over all cameras of the rollout."""

ALREADY: Final = "runs the package already"
TRIED_AGAIN: Final = (ActionState.FAILED, ActionState.EXPIRED, ActionState.CANCELLED)
_RUNNING: Final = (RolloutState.RUNNING,)


class Place(NamedTuple):
    """Where a camera stands in the rollout."""

    phase: int
    rank: int


def count_cameras(services: Services, rollout_id: str) -> None:
    """Fix the bounds of the phases by the cameras that there are now; nothing if they are fixed already."""
    with services.sessions.begin() as session:
        begin_reading(session)
        rollout = repository.find(session, rollout_id)
        if rollout is None or rollout.planned or Memory.model_validate(rollout.budget).bounds is not None:
            return
    spec = RolloutIn.model_validate(rollout.spec)
    ends = bounds(spec.phases, _ranks(services, rollout, spec))
    once(services, rollout_id, lambda work: _fix(work, ends), _RUNNING)


def _ranks(services: Services, rollout: Rollout, spec: RolloutIn) -> Sequence[int]:
    found, cursor = array("q"), ""  # eight bytes each, where a list would take forty
    while True:
        with services.sessions.begin() as session:
            begin_reading(session)
            ids = camera_ids(session, rollout, spec, after=cursor, limit=READ_AT_ONCE)
        found.extend(rank_of(camera_id, rollout.id) for camera_id in ids)
        if len(ids) < READ_AT_ONCE:
            return sorted(found)
        cursor = ids[-1]


def camera_ids(session: Session, rollout: Rollout, spec: RolloutIn, *, after: str, limit: int) -> Sequence[str]:
    """Cameras that the rollout is for, by id."""
    query = select(Camera.id).where(*repository.for_cameras(rollout, spec), Camera.id > after)
    return session.scalars(query.order_by(Camera.id).limit(limit)).all()


def _fix(work: Work, ends: list[int]) -> bool:
    if work.memory.bounds is None:
        work.remember(bounds=ends)
    return False


def plan(work: Work) -> bool:
    """Write the next actions; the rollout is planned once there are none left."""
    ends = work.memory.bounds
    if work.rollout.planned or ends is None:
        return False
    fresh = _without_action(work).where(Camera.id > work.memory.cursor).order_by(Camera.id).limit(work.rows)
    cameras = work.session.scalars(fresh).all()
    ranks = {camera.id: rank_of(camera.id, work.id) for camera in cameras}
    _add(work, cameras, {key: Place(phase, rank) for key, rank in ranks.items() if (phase := phase_at(rank, ends))})
    if len(cameras) < work.rows:
        work.rollout.planned = True
        work.remember(looked_at=work.now)
        return False
    work.remember(cursor=cameras[-1].id)
    return True


def _without_action(work: Work) -> Select[Camera]:
    mine = exists().where(Action.camera_id == Camera.id, *repository.installs(work.id)).correlate(Camera)
    return select(Camera).where(*repository.for_cameras(work.rollout, work.spec), ~mine)


def _add(work: Work, cameras: Sequence[Camera], places: dict[str, Place]) -> None:
    taking = [camera for camera in cameras if camera.id in places]
    waiting = [camera for camera in taking if camera.current_package_id != work.rollout.package_id]
    if waiting:
        work.session.execute(insert(Action), [_row(work, camera.id, places[camera.id]) for camera in waiting])
    if len(waiting) < len(taking):
        _add_running(work, [camera for camera in taking if camera not in waiting], places)


def _row(work: Work, camera_id: str, place: Place) -> dict[str, object]:
    return {
        "kind": ActionKind.INSTALL.value,
        "camera_id": camera_id,
        "package_id": work.rollout.package_id,
        "rollout_id": work.id,
        "phase": place.phase,
        "rank": place.rank,
        "priority": work.rollout.priority,
        "state": ActionState.PENDING.value,
        "created_at": work.now,
    }


def _add_running(work: Work, cameras: Iterable[Camera], places: dict[str, Place]) -> None:
    """They succeed without being touched."""
    ended = {"state": ActionState.RUNNING.value, "message": ALREADY, "succeeded_at": work.now, "closed_at": work.now}
    rows = [_row(work, camera.id, places[camera.id]) | ended for camera in cameras]
    ids = work.session.scalars(insert(Action).returning(Action.id), rows).all()
    step = {"at": work.now, "state": ActionState.RUNNING.value, "message": ALREADY, "detail": {}}
    work.session.execute(insert(ActionHistory), [{"action_id": action_id, **step} for action_id in ids])


def look_round(work: Work) -> bool:
    """Every few ticks: cameras that came take part, those that left do not any more."""
    since = work.memory.looked_at
    if not work.rollout.planned or (since and work.now - since < timedelta(seconds=LOOK_EVERY * work.tick_s)):
        return False
    more = _forget_gone(work) | (_let_join(work) if work.rollout.state == RolloutState.RUNNING else False)
    if not more:
        work.remember(looked_at=work.now)
    return more


def _forget_gone(work: Work) -> bool:
    """Actions of cameras that were deleted or replaced wait for nobody."""
    open_ = or_(Action.active, Action.state == ActionState.PENDING)
    query = select(Action.id).join(Camera, Camera.id == Action.camera_id).where(Camera.deleted_at.is_not(None))
    ids = work.session.scalars(query.where(Action.rollout_id == work.id, open_).limit(work.rows)).all()
    move_all(work.session, ids, ActionState.SUPERSEDED, message="the camera is there no more")
    return len(ids) == work.rows


def _let_join(work: Work) -> bool:
    ends, current = work.memory.bounds, _current_phase(work)
    if not ends or current is None:
        return False
    cameras = work.session.scalars(_without_action(work).order_by(Camera.id).limit(work.rows)).all()
    inherited = _inherited(work, [camera.id for camera in cameras])
    places = {key: Place(max(place.phase, current), place.rank) for key, place in inherited.items()}
    for camera in cameras:
        rank = rank_of(camera.id, work.id)
        if work.spec.late_joiners and camera.id not in places and (phase := joining(rank, ends, work.spec.phases, current)):
            places[camera.id] = Place(phase, rank)
    _add(work, cameras, places)
    # Those without a place stay without an action: only where all got one may others be behind them.
    return len(places) == len(cameras) == work.rows


def _current_phase(work: Work) -> int | None:
    waiting = select(RolloutPhase.number).where(RolloutPhase.rollout_id == work.id, RolloutPhase.state != PhaseState.DONE)
    return work.session.scalar(waiting.order_by(RolloutPhase.number).limit(1))


def _inherited(work: Work, camera_ids: Sequence[str]) -> dict[str, Place]:
    """Places of cameras that these have replaced."""
    before = aliased(Camera)
    query = (
        select(before.replaced_by_id, Action.phase, Action.rank)
        .select_from(Action)
        .join(before, before.id == Action.camera_id)
        .where(*repository.installs(work.id), Action.phase.is_not(None), before.replaced_by_id.in_(camera_ids))
    )
    rows = work.session.execute(query)
    return {str(successor): Place(phase, rank) for successor, phase, rank in rows if phase is not None}


def try_again(work: Work) -> bool:
    """Cameras whose action came to nothing get another one, as a person asked for."""
    through = work.memory.retry_through
    if through is None or not work.rollout.planned:
        return False
    tried = (
        select(Action.id, Action.camera_id, Action.phase, Action.rank)
        .join(Camera, Camera.id == Action.camera_id)
        .where(*repository.installs(work.id), Action.phase.is_not(None), Action.id <= through)
        .where(Action.state.in_([state.value for state in TRIED_AGAIN]), Camera.deleted_at.is_(None))
    )
    rows = work.session.execute(tried.limit(work.rows)).all()
    if rows:
        replaced = update(Action).where(Action.id.in_([row.id for row in rows])).values(phase=None)
        work.session.execute(replaced, execution_options={"synchronize_session": False})
        work.session.execute(insert(Action), [_row(work, row.camera_id, Place(row.phase, row.rank)) for row in rows])
    if len(rows) == work.rows:
        return True
    work.remember(retry_through=None, accepted={})
    return False


def call_off(work: Work) -> bool:
    """Nothing more is to be installed: what was not offered is cancelled, the other devices are asked to stop."""
    open_ = or_(Action.active & Action.cancel_requested_at.is_(None), repository.TURN_TO_COME)
    query = select(Action.id).where(*repository.installs(work.id), open_).limit(work.rows)
    ids = work.session.scalars(query).all()
    request_cancel(work.session, ids)
    return len(ids) == work.rows
