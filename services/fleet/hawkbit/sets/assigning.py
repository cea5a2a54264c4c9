"""Giving a distribution set to targets by hand, without a rollout."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.actions.moves import move_all, release
from services.fleet.cameras.models import Camera
from services.fleet.events.record import record
from services.fleet.hawkbit.errors import NotSupported, SetIncomplete, TargetNotFound
from services.fleet.hawkbit.messages import Base
from services.fleet.hawkbit.sets import repository, service
from services.fleet.hawkbit.sets.schemas import ActionRef, AssignedOut, AssignmentIn
from services.fleet.hawkbit.targets import repository as targets
from services.fleet.packages.models import Package
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.auth import Actor
from shared.kit.problems import Conflict


class TargetBusy(Conflict):
    """A rollout reached for the camera at the same moment."""

    title = "Target changed meanwhile"
    hint = "send the request again"


def assign(session: Session, set_id: int, bodies: Sequence[AssignmentIn], base: Base, *, actor: Actor) -> AssignedOut:
    """An action for each target that has not got the set already; what it was at before is superseded.

    SetNotFound, SetIncomplete, TargetNotFound, NotSupported, TargetBusy; then nothing is assigned.
    """
    if any(body.maintenance_window is not None for body in bodies):
        raise NotSupported("Assignments have no maintenance window here.", hint="give the target's group one")
    _, package = service.get(session, set_id)
    if not repository.has_files(session, package.id):
        raise SetIncomplete(f"No module of {package.ref!r} has an artifact.")
    # In one order, so that two requests for the same targets do not wait for each other.
    by_id = {body.id: body for body in bodies}
    made = [_assign(session, name, package, by_id[name], actor) for name in sorted(by_id)]
    refs = [_ref(action, name, base) for name, action in zip(sorted(by_id), made, strict=True) if action is not None]
    return AssignedOut(assigned=len(refs), already_assigned=len(made) - len(refs), total=len(made), assigned_actions=refs)


def _assign(session: Session, controller_id: str, package: Package, body: AssignmentIn, actor: Actor) -> Action | None:
    """None if the camera has the package, or is at it."""
    # Actions before the camera, as whoever handles a device's feedback takes them; else the two could wait for each other.
    before = targets.open_actions(session, _existing(targets.find(session, controller_id), controller_id).id)
    camera = _existing(targets.find_locked(session, controller_id), controller_id)
    if any(action.package_id == package.id and action.active for action in before):
        return None
    if not before and camera.current_package_id == package.id:
        return None
    move_all(session, [action.id for action in before], ActionState.SUPERSEDED, message=f"{package.ref} was assigned instead")
    action = Action(
        kind=ActionKind.INSTALL.value,
        camera_id=camera.id,
        package_id=package.id,
        state=ActionState.PENDING.value,
        forced=body.type != "soft",
        download_only=body.type == "downloadonly",
    )
    session.add(action)
    session.flush()
    if not release(session, [action.id], deadline_at=None):
        raise TargetBusy(f"The target {camera.controller_id!r} was given something else at the same moment.")
    record(session, "action.assigned", actor=actor, camera_id=camera.id, action=action.id, package=package.ref)
    return action


def _existing(camera: Camera | None, controller_id: str) -> Camera:
    if camera is None:
        raise TargetNotFound(f"There is no target {controller_id!r}.")
    return camera


def _ref(action: Action, controller_id: str, base: Base) -> ActionRef:
    return ActionRef(id=action.id, links={"self": base("targets", controller_id, "actions", action.id)})
