"""Who takes part: each camera gets its action, when the rollout begins or when the camera comes.

First all cameras are counted, which fixes the bounds of the phases; then actions are written piece by piece. What is
written says how far that is, so it goes on after a crash where it was.
"""

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import insert, or_, select, update
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import request_cancel
from services.fleet.cameras.models import Camera
from services.fleet.polling.epochs import touch
from services.fleet.rollouts import repository
from services.fleet.rollouts.memory import Memory
from services.fleet.rollouts.models import Rollout, RolloutPhase
from services.fleet.rollouts.sizing import bounds, joining, phase_at, rank_of
from services.fleet.rollouts.work import Work, once
from services.fleet.runtime import Services
from shared.contracts.rollouts import ActionKind, ActionState, PhaseState, RolloutIn, RolloutState
from shared.kit.database import begin_reading, db_now

READ_AT_ONCE: Final = 10_000
"""Ids of cameras per transaction that only reads."""

LOOK_EVERY: Final = 30
"""Ticks between two looks for cameras that came: they cost a pass over all cameras of the rollout."""

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
    following = select(Camera).where(*repository.for_cameras(work.rollout, work.spec), Camera.id > work.memory.cursor)
    cameras = work.session.scalars(following.order_by(Camera.id).limit(work.rows)).all()
    ranks = {camera.id: rank_of(camera.id, work.id) for camera in cameras}
    _add(work, cameras, {key: Place(phase, rank) for key, rank in ranks.items() if (phase := phase_at(rank, ends))})
    if len(cameras) < work.rows:
        work.rollout.planned = True
        repository.touch_cameras(work.session, work.id)
        work.remember(looked_at=work.now)
        return False
    work.remember(cursor=cameras[-1].id)
    return True


def _add(work: Work, cameras: Sequence[Camera], places: dict[str, Place]) -> None:
    present = _present(work, places)
    taking = [camera for camera in cameras if camera.id in places and camera.id not in present]
    waiting = [camera for camera in taking if camera.current_package_id != work.rollout.package_id]
    if waiting:
        work.session.execute(insert(Action), [_row(work, camera.id, places[camera.id]) for camera in waiting])
    if len(waiting) < len(taking):
        _add_running(work, [camera for camera in taking if camera not in waiting], places)


def _present(work: Work, camera_ids: Collection[str]) -> set[str]:
    """Those of these cameras that have an action already: they have taken another's place meanwhile.

    Of all their actions, so that Postgres goes by the camera: by the rollout it reads all that were written so far, each time.
    """
    theirs = select(Action.camera_id, Action.rollout_id, Action.kind).where(Action.camera_id.in_(camera_ids))
    install = ActionKind.INSTALL.value
    return {row.camera_id for row in work.session.execute(theirs) if row.rollout_id == work.id and row.kind == install}


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


def join_late(services: Services, rollout_id: str) -> None:
    """Every few ticks: cameras that came to a rollout that runs take part."""
    with services.sessions.begin() as session:
        begin_reading(session)
        rollout = repository.find(session, rollout_id)
        if rollout is None or not rollout.planned:
            return
        since, now = Memory.model_validate(rollout.budget).looked_at, db_now(session)
        if since and now - since < timedelta(seconds=LOOK_EVERY * services.settings.tick_s):
            return
        inherited = _inherited(session, rollout_id)
    spec, rows = RolloutIn.model_validate(rollout.spec), services.settings.tick_rows
    for ids in _without_action(services, rollout, spec):
        late = ids if spec.late_joiners else [camera_id for camera_id in ids if camera_id in inherited]
        for start in range(0, len(late), rows):
            once(services, rollout_id, partial(_let_join, ids=late[start : start + rows], inherited=inherited), _RUNNING)
    once(services, rollout_id, _looked, _RUNNING)


def _without_action(services: Services, rollout: Rollout, spec: RolloutIn) -> Iterator[list[str]]:
    """Cameras that the rollout is for and that have no part in it, a page at a time, in transactions that only read."""
    cursor = ""
    while True:
        with services.sessions.begin() as session:
            begin_reading(session)
            ids = camera_ids(session, rollout, spec, after=cursor, limit=READ_AT_ONCE)
            span = (Action.camera_id > cursor, Action.camera_id <= (ids[-1] if ids else cursor))
            present = set(session.scalars(select(Action.camera_id).where(*repository.installs(rollout.id), *span)))
        yield [camera_id for camera_id in ids if camera_id not in present]
        if len(ids) < READ_AT_ONCE:
            return
        cursor = ids[-1]


def _let_join(work: Work, ids: Sequence[str], inherited: Mapping[str, Place]) -> bool:
    ends, current = work.memory.bounds, _current_phase(work)
    if not ends or current is None:
        return False
    places: dict[str, Place] = {}
    for camera_id in ids:
        rank = rank_of(camera_id, work.id)
        if before := inherited.get(camera_id):
            places[camera_id] = Place(max(before.phase, current), before.rank)
        elif phase := joining(rank, ends, work.spec.phases, current):
            places[camera_id] = Place(phase, rank)
    if places:
        query = select(Camera).where(Camera.id.in_(places.keys()), Camera.deleted_at.is_(None))
        _add(work, work.session.scalars(query.order_by(Camera.id)).all(), places)
        touch(work.session, places)
    return False


def _looked(work: Work) -> bool:
    work.remember(looked_at=work.now)
    return False


def _current_phase(work: Work) -> int | None:
    waiting = select(RolloutPhase.number).where(RolloutPhase.rollout_id == work.id, RolloutPhase.state != PhaseState.DONE)
    return work.session.scalar(waiting.order_by(RolloutPhase.number).limit(1))


def _inherited(session: Session, rollout_id: str) -> dict[str, Place]:
    """Places of cameras that were replaced after they had ended, by successor."""
    query = (
        select(Camera.replaced_by_id, Action.phase, Action.rank)
        .join(Action, Action.camera_id == Camera.id)
        .where(Camera.replaced_by_id.is_not(None), *repository.installs(rollout_id), Action.phase.is_not(None))
    )
    return {str(successor): Place(phase, rank) for successor, phase, rank in session.execute(query) if phase is not None}


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
