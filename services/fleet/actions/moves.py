"""Moving actions: the one place where their state changes."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import exists, insert, literal, select, update
from sqlalchemy.orm import Session, aliased

from services.fleet.actions.domain import before, is_open
from services.fleet.actions.models import Action, ActionHistory
from services.fleet.cameras.models import Camera
from services.fleet.polling.epochs import touch
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.database import db_now

_MOVED: Final = (
    Action.id,
    Action.camera_id,
    Action.kind,
    Action.package_id,
    Action.rollout_id,
    Action.restores_id,
    Action.download_only,
)


def release(session: Session, action_ids: Collection[int], *, deadline_at: datetime | None) -> list[int]:
    """Let these actions' cameras see them, where no other action of theirs is active; the ids of those that were let in.

    An action that is active already, or not pending, is left as it is.
    """
    now = db_now(session)
    other = aliased(Action)
    # Not as NOT IN: Postgres would read all active actions of the fleet for it.
    busy = exists().where(other.camera_id == Action.camera_id, other.active)
    free = select(Action.id, Action.camera_id).where(
        Action.id.in_(action_ids), Action.state == ActionState.PENDING, ~Action.active, ~busy
    )
    rows = session.execute(free.with_for_update(skip_locked=True)).all()
    one_each = {camera_id: action_id for action_id, camera_id in reversed(rows)}
    good = select(Camera.last_good_package_id).where(Camera.id == Action.camera_id).scalar_subquery()
    taken = list(one_each.values())
    session.execute(
        update(Action)
        .where(Action.id.in_(taken))
        .values(active=True, released_at=now, deadline_at=deadline_at, previous_package_id=good),
        execution_options={"synchronize_session": False},
    )
    touch(session, one_each)
    return taken


def move(
    session: Session,
    action_id: int,
    to: ActionState,
    *,
    expected: Collection[ActionState] | None = None,
    message: str = "",
    detail: Mapping[str, Any] | None = None,
) -> bool:
    """Bring one action to ``to`` from any of ``expected``, by default from all states that may; False if it is elsewhere.

    The history, the camera's current package and, of a restore, the action that it takes back follow.
    """
    return bool(move_all(session, [action_id], to, expected=expected, message=message, detail=detail))


def move_all(
    session: Session,
    action_ids: Iterable[int],
    to: ActionState,
    *,
    expected: Collection[ActionState] | None = None,
    message: str = "",
    detail: Mapping[str, Any] | None = None,
) -> list[int]:
    """As ``move``, for many; the ids of those that moved."""
    now = db_now(session)
    allowed = before(to) if expected is None else before(to) & frozenset(expected)
    values: dict[str, Any] = {"state": to.value}
    if message:
        values["message"] = message
    if not is_open(to):
        values |= {"active": False}
        if to is not ActionState.RESTORING:
            values["closed_at"] = now
    if to is ActionState.RUNNING:
        values["succeeded_at"] = now
    moved = session.execute(
        update(Action)
        .where(Action.id.in_(list(action_ids)), Action.state.in_([state.value for state in allowed]))
        .values(values)
        .returning(*_MOVED),
        execution_options={"synchronize_session": False},
    ).all()
    if not moved:
        return []
    step = {"at": now, "state": to.value, "message": message, "detail": dict(detail or {})}
    _tell(session, [row.id for row in moved], step)
    if to is ActionState.RUNNING:
        _follow_success(session, moved)
    touch(session, [row.camera_id for row in moved])
    return [row.id for row in moved]


def _tell(session: Session, action_ids: Collection[int], step: Mapping[str, Any]) -> None:
    """Add the same line to the history of all: as one statement, which takes half the time of a row each."""
    columns = ActionHistory.__table__.c
    same = [literal(value, columns[name].type) for name, value in step.items()]
    rows = select(Action.id, *same).where(Action.id.in_(action_ids))
    session.execute(insert(ActionHistory).from_select(["action_id", *step], rows, include_defaults=False))


def _follow_success(session: Session, moved: Collection[Any]) -> None:
    """Cameras run the package now, unless they only had to fetch it; what one that was restored takes back is over.

    It is good at once where no phase soaks: of a restore, and of what a person gave the camera by hand.
    """
    by_package: dict[tuple[str | None, bool], list[str]] = {}
    for row in moved:
        if not row.download_only:
            is_good = row.kind == ActionKind.RESTORE or row.rollout_id is None
            by_package.setdefault((row.package_id, is_good), []).append(row.camera_id)
    for (package_id, is_good), cameras in by_package.items():
        values = {"current_package_id": package_id}
        if is_good:
            values["last_good_package_id"] = package_id
        session.execute(
            update(Camera).where(Camera.id.in_(cameras)).values(values),
            execution_options={"synchronize_session": False},
        )
    taken_back = [row.restores_id for row in moved if row.kind == ActionKind.RESTORE and row.restores_id is not None]
    if taken_back:
        move_all(session, taken_back, ActionState.RESTORED)


def request_cancel(session: Session, action_ids: Collection[int], *, told: bool = False) -> int:
    """Ask the devices of these open actions to stop; how many are asked that were not before.

    Those that no device has seen yet are cancelled at once. With ``told`` only those are whose turn has not come: hawkBit tells
    a device of every cancellation, and its clients wait for that.
    """
    query = select(Action.id).where(Action.id.in_(action_ids), Action.state == ActionState.PENDING)
    pending = query.where(~Action.active) if told else query
    move_all(session, session.scalars(pending).all(), ActionState.CANCELLED, expected={ActionState.PENDING})
    asked = (
        update(Action)
        .where(Action.id.in_(action_ids), Action.active, Action.cancel_requested_at.is_(None))
        .values(cancel_requested_at=db_now(session))
        .returning(Action.camera_id)
    )
    cameras = session.scalars(asked, execution_options={"synchronize_session": False}).all()
    touch(session, cameras)
    return len(cameras)
