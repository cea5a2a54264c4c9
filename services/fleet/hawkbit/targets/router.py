"""Routes of targets and their actions."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query, status

from services.fleet.cameras.models import Camera
from services.fleet.cameras.registering import CameraExists
from services.fleet.ddi.caller import controller_id_of
from services.fleet.ddi.errors import InvalidControllerId
from services.fleet.hawkbit.auth import VIEWER, OperatorActor
from services.fleet.hawkbit.errors import (
    ActionNotOpen,
    HawkbitRoute,
    NotCancelledYet,
    NotSupported,
    TargetActionNotFound,
    TargetNotFound,
)
from services.fleet.hawkbit.messages import MOST_BODIES, BaseDep, Paged, QueryWindowDep, WindowDep
from services.fleet.hawkbit.targets import actions_service, service
from services.fleet.hawkbit.targets.schemas import ActionOut, ActionStatusOut, TargetChange, TargetIn, TargetOut
from services.fleet.runtime import ServicesDep
from shared.kit.database import SessionDep
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/targets", route_class=HawkbitRoute)
_ONE = "/{controller_id}"
_ACTION = _ONE + "/actions/{action_id}"
_NOT_FOUND = problem_responses(TargetNotFound, InvalidControllerId)
_NO_ACTION = problem_responses(TargetNotFound, InvalidControllerId, TargetActionNotFound)
ActionId = Annotated[int, Path(ge=1, le=2**63 - 1)]


def _controller_id(controller_id: str) -> str:
    # The path is routed by as it was sent (see ddi.door), so that an id may have a slash.
    return controller_id_of(controller_id)


ControllerIdDep = Annotated[str, Depends(_controller_id)]


def _target(controller_id: ControllerIdDep, session: SessionDep) -> Camera:
    return service.get(session, controller_id)


# scope="function" as its session has it.
TargetDep = Annotated[Camera, Depends(_target, scope="function")]


@router.post("", status_code=status.HTTP_201_CREATED, responses=problem_responses(CameraExists))
def create(
    bodies: Annotated[list[TargetIn], Body(min_length=1, max_length=MOST_BODIES)],
    session: SessionDep,
    services: ServicesDep,
    base: BaseDep,
    actor: OperatorActor,
) -> list[TargetOut]:
    """Register cameras. Their tokens are shown in this answer only: a hash of each is kept."""
    return service.create(session, bodies, services.settings, base, actor=actor)


@router.get("", dependencies=[VIEWER], responses=problem_responses(NotSupported))
def list_all(session: SessionDep, services: ServicesDep, window: QueryWindowDep, base: BaseDep) -> Paged[TargetOut]:
    """All targets, or those of `q=controllerId==x`."""
    return service.page(session, window, services.settings, base)


@router.get(_ONE, dependencies=[VIEWER], responses=_NOT_FOUND)
def read(target: TargetDep, session: SessionDep, services: ServicesDep, base: BaseDep) -> TargetOut:
    """One target."""
    return service.show(session, [target], services.settings, base)[0]


@router.put(_ONE, responses=_NOT_FOUND)
def change(
    controller_id: ControllerIdDep,
    body: TargetChange,
    session: SessionDep,
    services: ServicesDep,
    base: BaseDep,
    actor: OperatorActor,
) -> TargetOut:
    """Another name, description or token."""
    target = service.change(session, controller_id, body, actor=actor)
    return service.show(session, [target], services.settings, base)[0]


@router.delete(_ONE, status_code=status.HTTP_204_NO_CONTENT, responses=_NOT_FOUND)
def delete(controller_id: ControllerIdDep, session: SessionDep, actor: OperatorActor) -> None:
    """Forget it: its token is dead and its actions are cancelled."""
    service.delete(session, controller_id, actor=actor)


@router.get(_ONE + "/attributes", dependencies=[VIEWER], responses=_NOT_FOUND)
def read_attributes(target: TargetDep) -> dict[str, str]:
    """What the device told of itself."""
    return target.attributes


@router.get(_ONE + "/actions", dependencies=[VIEWER], responses=_NOT_FOUND)
def list_actions(target: TargetDep, session: SessionDep, window: WindowDep, base: BaseDep) -> Paged[ActionOut]:
    """All that it was given."""
    return actions_service.page(session, target, window, base)


@router.get(_ACTION, dependencies=[VIEWER], responses=_NO_ACTION)
def read_action(action_id: ActionId, target: TargetDep, session: SessionDep, base: BaseDep) -> ActionOut:
    """One action."""
    return actions_service.show(actions_service.get(session, target, action_id), target, base)


@router.get(_ACTION + "/status", dependencies=[VIEWER], responses=_NO_ACTION)
def list_statuses(action_id: ActionId, target: TargetDep, session: SessionDep, window: WindowDep) -> Paged[ActionStatusOut]:
    """What became of it and what the target said."""
    return actions_service.statuses(session, actions_service.get(session, target, action_id), window)


@router.delete(
    _ACTION,
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses(TargetNotFound, InvalidControllerId, TargetActionNotFound, ActionNotOpen, NotCancelledYet),
)
def cancel(
    action_id: ActionId,
    target: TargetDep,
    session: SessionDep,
    actor: OperatorActor,
    force: Annotated[bool, Query(description="end it without waiting for the target, which was asked before")] = False,
) -> None:
    """Ask the target to stop."""
    actions_service.cancel(session, target, action_id, force=force, actor=actor)
