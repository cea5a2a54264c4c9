"""Decisions on a target's actions."""

from sqlalchemy.orm import Session

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import move, request_cancel
from services.fleet.cameras.models import Camera
from services.fleet.events.record import record
from services.fleet.hawkbit.errors import ActionNotOpen, NotCancelledYet, TargetActionNotFound
from services.fleet.hawkbit.messages import Base, Links, Paged, Window, ms
from services.fleet.hawkbit.targets import repository
from services.fleet.hawkbit.targets.domain import detail_status, kind, status_of
from services.fleet.hawkbit.targets.schemas import ActionOut, ActionStatusOut
from shared.contracts.rollouts import ActionState
from shared.kit.auth import Actor


def get(session: Session, camera: Camera, action_id: int) -> Action:
    """An action of this target. TargetActionNotFound, also if it is another's."""
    action = repository.action(session, camera.id, action_id)
    if action is None:
        raise TargetActionNotFound(f"The target {camera.controller_id!r} has no action {action_id}.")
    return action


def page(session: Session, camera: Camera, window: Window, base: Base) -> Paged[ActionOut]:
    """A target's actions."""
    found, total = repository.actions(session, camera.id, window)
    return Paged(content=[show(action, camera, base) for action in found], total=total, size=len(found))


def show(action: Action, camera: Camera, base: Base) -> ActionOut:
    """As clients are told of it."""
    state, cancelling = ActionState(action.state), action.cancel_requested_at is not None
    changed = action.closed_at or action.cancel_requested_at or action.released_at or action.created_at
    return ActionOut(
        id=action.id,
        type=kind(state, active=action.active, cancelling=cancelling),
        status="finished" if action.closed_at is not None else "pending",
        detail_status=detail_status(state, active=action.active, cancelling=cancelling),
        force_type="downloadonly" if action.download_only else "forced" if action.forced else "soft",
        created_at=ms(action.created_at) or 0,
        last_modified_at=ms(changed) or 0,
        links=_links(action, camera, base),
    )


def _links(action: Action, camera: Camera, base: Base) -> Links:
    mine = "targets", camera.controller_id, "actions", action.id
    return {"self": base(*mine), "target": base("targets", camera.controller_id), "status": base(*mine, "status")}


def statuses(session: Session, action: Action, window: Window) -> Paged[ActionStatusOut]:
    """What became of it and what the target said."""
    found, total = repository.history(session, action.id, window)
    return Paged(content=[_status(row) for row in found], total=total, size=len(found))


def _status(row: ActionHistory) -> ActionStatusOut:
    at, lines = ms(row.at) or 0, row.detail.get("lines")
    said = lines if isinstance(lines, list) and lines else [row.message] if row.message else []
    return ActionStatusOut(
        id=row.id,
        type=status_of(ActionState(row.state), row.detail.get("execution")),
        messages=[str(line) for line in said],
        reported_at=at,
        timestamp=at,
    )


def cancel(session: Session, camera: Camera, action_id: int, *, force: bool, actor: Actor) -> None:
    """Ask the target to stop; with ``force``, after that, end it whatever the target is at.

    TargetActionNotFound, ActionNotOpen, NotCancelledYet.
    """
    action = get(session, camera, action_id)
    if action.closed_at is not None:
        raise ActionNotOpen(f"The action {action_id} is {action.state} already.", state=action.state)
    if not force:
        request_cancel(session, [action_id], told=True)
    elif action.cancel_requested_at is None:
        raise NotCancelledYet(f"The target was not asked yet to cancel action {action_id}.")
    else:
        move(session, action_id, ActionState.CANCELLED, message=f"ended by force, by {actor.name}")
    record(
        session,
        "action.cancel_requested",
        actor=actor,
        rollout_id=action.rollout_id,
        camera_id=camera.id,
        action=action_id,
        force=force,
    )
