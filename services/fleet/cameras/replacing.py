"""One camera takes another's place."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.actions.moves import move_all
from services.fleet.cameras import repository, service
from services.fleet.cameras.errors import CameraChangedMeanwhile, CameraNotFound, ReplacementRefused
from services.fleet.cameras.models import Camera
from services.fleet.events.record import record
from services.fleet.polling.epochs import touch
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.auth import Actor
from shared.kit.problems import InvalidRequest

FIELD = "body.successor"


def replace(session: Session, camera_id: str, successor_id: str, *, actor: Actor) -> Camera:
    """Hand labels, groups and what is open in rollouts to the successor, and retire the camera; the successor.

    What the camera had still to install is superseded, and pending for the successor in the same rollout and phase.
    CameraNotFound, InvalidRequest, ReplacementRefused, CameraChangedMeanwhile.
    """
    if camera_id == successor_id:
        raise InvalidRequest.of_field(FIELD, "a camera cannot take its own place", "name another camera")
    # In this order, as ticks and feedback take them: rollouts, actions, cameras.
    reached = repository.rollouts_of(session, camera_id)
    running = repository.open_rollouts_locked(session, reached)
    actions = repository.open_actions(session, camera_id)
    if any(action.rollout_id not in {None, *reached} for action in actions):
        raise CameraChangedMeanwhile("A rollout has reached for the camera at the same moment.")
    move_all(session, [action.id for action in actions], ActionState.SUPERSEDED, message=f"replaced by camera {successor_id}")
    camera, successor = _locked_pair(session, camera_id, successor_id)
    _hand_over(session, [action for action in actions if action.rollout_id in running], successor)
    repository.set_labels(session, successor, camera.labels)
    camera.replaced_by_id = successor.id
    service.retire(session, camera)
    touch(session, [successor.id])
    record(session, "camera.replaced", actor=actor, camera_id=camera.id, successor=successor.id)
    record(session, "camera.took_over", actor=actor, camera_id=successor.id, predecessor=camera.id)
    return successor


def _locked_pair(session: Session, camera_id: str, successor_id: str) -> tuple[Camera, Camera]:
    found = repository.locked(session, [camera_id, successor_id])
    camera, successor = found.get(camera_id), found.get(successor_id)
    if camera is None or camera.deleted_at is not None:
        raise CameraNotFound(f"There is no camera with the id {camera_id!r}.")
    if successor is None:
        hint = "register the device first: `POST /v1/fleet/cameras`"
        raise InvalidRequest.of_field(FIELD, f"there is no camera with the id {successor_id!r}", hint)
    if successor.deleted_at is not None:
        what = "replaced itself" if successor.replaced_by_id else "deleted"
        raise ReplacementRefused(f"The camera {successor_id} was {what}.", replaced_by=successor.replaced_by_id)
    if action := repository.active(session, [successor.id]).get(successor.id):
        raise ReplacementRefused(f"The camera {successor_id} is at action {action.id} now.", action=action.id)
    return camera, successor


def _hand_over(session: Session, actions: Sequence[Action], successor: Camera) -> None:
    """Returns to a last good package are not handed over: the successor has nothing to return from."""
    present = repository.takes_part(session, successor.id)
    handed = [action for action in actions if action.kind == ActionKind.INSTALL and action.rollout_id not in present]
    session.add_all(_for_successor(action, successor) for action in handed)
    session.flush()
    # The successor's stands for it from now on: a phase has each place once.
    repository.leave_phase(session, [action.id for action in handed])


def _for_successor(action: Action, successor: Camera) -> Action:
    return Action(
        kind=action.kind,
        camera_id=successor.id,
        package_id=action.package_id,
        rollout_id=action.rollout_id,
        phase=action.phase,
        rank=action.rank,
        priority=action.priority,
        forced=action.forced,
        state=ActionState.PENDING.value,
        message=f"in place of action {action.id}",
    )
