"""Actions as users see them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.cameras.models import Camera
from services.fleet.packages.models import Package
from shared.contracts.rollouts import ActionOut, ActionStep


def one(session: Session, action: Action, history: Sequence[ActionHistory]) -> ActionOut:
    """A single action with its history."""
    (shown,) = many(session, [action])
    return shown.model_copy(update={"history": [ActionStep.model_validate(step) for step in history]})


def many(session: Session, actions: Sequence[Action]) -> list[ActionOut]:
    """Actions in the order given, without their history."""
    cameras = select(Camera.id, Camera.controller_id).where(Camera.id.in_({action.camera_id for action in actions}))
    names = {camera_id: controller_id for camera_id, controller_id in session.execute(cameras)}
    packages = select(Package).where(Package.id.in_({action.package_id for action in actions if action.package_id}))
    refs = {package.id: package.ref for package in session.scalars(packages)}
    return [_action(action, names[action.camera_id], refs.get(action.package_id or "")) for action in actions]


def _action(action: Action, controller_id: str, package: str | None) -> ActionOut:
    return ActionOut(
        id=action.id,
        kind=action.kind,
        camera=action.camera_id,
        controller_id=controller_id,
        rollout=action.rollout_id,
        phase=action.phase,
        package=package,
        state=action.state,
        message=action.message,
        created_at=action.created_at,
        released_at=action.released_at,
        deadline_at=action.deadline_at,
        closed_at=action.closed_at,
        cancel_requested_at=action.cancel_requested_at,
        restores=action.restores_id,
    )
