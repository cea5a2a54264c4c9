"""The way back: every camera that the rollout has touched returns to its last good package.

A camera is touched once its device has seen the action. What is still open is called off first; a restore is made only for what
is closed, so that no camera is ever asked to do two things.
"""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, exists, func, insert, or_, select
from sqlalchemy.orm import aliased

from services.fleet.actions.domain import TOUCHED, UNDER_WAY
from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import move_all
from services.fleet.cameras.models import Camera
from services.fleet.packages.models import Package
from services.fleet.rollouts import repository
from services.fleet.rollouts.domain import GONE
from services.fleet.rollouts.releasing import let_go
from services.fleet.rollouts.statements import returnable
from services.fleet.rollouts.work import Work
from shared.contracts.rollouts import ActionKind, ActionState, RolloutState

PRIORITY: Final = 101
"""Of restores: above every rollout's, so that none takes a camera in the middle of its return."""

CLOSED: Final = tuple(state.value for state in (TOUCHED | GONE) if state not in UNDER_WAY)
_SEEN: Final = tuple(state.value for state in UNDER_WAY[1:])


def make_restores(work: Work) -> bool:
    """Give touched cameras their way back. One that said that it failed, and has its last good package, needs none."""
    rows = work.session.execute(_to_return().where(*repository.installs(work.id)).limit(work.rows)).all()
    there = [row.id for row in rows if _is_there(row)]
    back = [row for row in rows if row.id not in set(there)]
    move_all(work.session, [row.id for row in rows], ActionState.RESTORING)
    move_all(work.session, there, ActionState.RESTORED, message="has its last good package already")
    if back:
        work.session.execute(insert(Action), [_restore(work, row) for row in back])
    return len(rows) == work.rows


def _is_there(row: Any) -> bool:
    # Who was asked to stop may have failed by its silence: what it runs now, nobody knows.
    said_so = row.state == ActionState.FAILED and row.cancel_requested_at is None
    return said_so and bool(row.current == row.previous_package_id)


def _to_return() -> Select[int, str, int | None, int, str, str | None, datetime | None, str | None]:
    columns = (Action.id, Action.camera_id, Action.phase, Action.rank, Action.state, Action.previous_package_id)
    return (
        select(*columns, Action.cancel_requested_at, Camera.current_package_id.label("current"))
        .join(Camera, Camera.id == Action.camera_id)
        .where(Camera.deleted_at.is_(None), Action.state.in_(CLOSED), Action.released_at.is_not(None), ~Action.active)
        .where(_is_touched(), ~_is_overtaken())
    )


def _is_touched() -> ColumnElement[bool]:
    seen = exists().where(ActionHistory.action_id == Action.id, ActionHistory.state.in_(_SEEN))
    return or_(Action.state.in_([state.value for state in TOUCHED]), seen)


def _is_overtaken() -> ColumnElement[bool]:
    """A later try of the same rollout has the camera's way back, or another package came to it and is there still."""
    later = aliased(Action)
    seen = exists().where(ActionHistory.action_id == later.id, ActionHistory.state.in_(_SEEN))
    same = later.rollout_id == Action.rollout_id
    elsewhere = Camera.current_package_id.is_distinct_from(Action.package_id)
    newer = (
        later.camera_id == Action.camera_id,
        later.kind == ActionKind.INSTALL.value,
        later.released_at > Action.released_at,
    )
    return exists().where(*newer, or_(same, elsewhere), seen).correlate(Action, Camera)


def _restore(work: Work, row: Any) -> dict[str, object]:
    return {
        "kind": ActionKind.RESTORE.value,
        "camera_id": row.camera_id,
        "package_id": row.previous_package_id,
        "rollout_id": work.id,
        "phase": row.phase,
        "rank": row.rank,
        "priority": PRIORITY,
        "restores_id": row.id,
        "state": ActionState.PENDING.value,
        "created_at": work.now,
    }


def refuse_deleted(work: Work) -> bool:
    """A package that was deleted cannot be returned to."""
    deleted = select(Package.id).where(Package.deleted_at.is_not(None))
    query = select(Action.id).where(*_waiting(work), Action.package_id.in_(deleted)).limit(work.rows)
    ids = work.session.scalars(query).all()
    move_all(work.session, ids, ActionState.FAILED, message="the package that the camera would return to was deleted")
    return len(ids) == work.rows


def let_return(work: Work) -> bool:
    """Let in the restores whose return is signed or needs no signature. The rate limit does not hold them."""
    other = aliased(Action)
    busy = exists().where(other.camera_id == Action.camera_id, other.active)
    possible = or_(Action.package_id.is_(None), Action.package_id.in_(returnable(work.session, work.id)))
    query = select(Action.id).where(*_waiting(work), possible, ~busy).limit(work.rows)
    ids = work.session.scalars(query).all()
    return bool(let_go(work, ids)) and len(ids) == work.rows


def _waiting(work: Work) -> tuple[ColumnElement[bool], ...]:
    return Action.rollout_id == work.id, Action.kind == ActionKind.RESTORE.value, repository.TURN_TO_COME


def settle(work: Work) -> bool:
    """Once nothing is open any more, the rollout is rolled back."""
    if repository.has_open(work.session, work.id) or _some_to_return(work):
        return False
    stuck = select(func.count()).where(Action.rollout_id == work.id, Action.state == ActionState.RESTORING)
    left = work.session.scalar(stuck.select_from(Action)) or 0
    before = work.rollout.reason
    work.enter(RolloutState.ROLLED_BACK, f"{before}; {left} cameras did not return" if left else before)
    return False


def _some_to_return(work: Work) -> bool:
    return work.session.execute(_to_return().where(*repository.installs(work.id)).limit(1)).first() is not None
