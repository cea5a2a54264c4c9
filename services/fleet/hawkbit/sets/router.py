"""Routes of distribution sets and their assignment to targets."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, status

from services.fleet.hawkbit.auth import VIEWER, OperatorActor
from services.fleet.hawkbit.errors import (
    HawkbitRoute,
    NotSupported,
    SetExists,
    SetIncomplete,
    SetInUse,
    SetNotFound,
    TargetNotFound,
)
from services.fleet.hawkbit.messages import MOST_BODIES, BaseDep, Paged, WindowDep
from services.fleet.hawkbit.sets import assigning, service
from services.fleet.hawkbit.sets.assigning import TargetBusy
from services.fleet.hawkbit.sets.schemas import AssignedOut, AssignmentIn, SetIn, SetOut
from shared.kit.database import SessionDep
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/distributionsets", route_class=HawkbitRoute)
SetId = Annotated[int, Path(ge=1, le=2**63 - 1)]


@router.post("", status_code=status.HTTP_201_CREATED, responses=problem_responses(SetExists))
def create(
    bodies: Annotated[list[SetIn], Body(min_length=1, max_length=MOST_BODIES)],
    session: SessionDep,
    base: BaseDep,
    actor: OperatorActor,
) -> list[SetOut]:
    """Make sets of modules."""
    return service.show(session, service.create(session, bodies, actor=actor), base)


@router.get("", dependencies=[VIEWER])
def list_all(session: SessionDep, window: WindowDep, base: BaseDep) -> Paged[SetOut]:
    """All sets."""
    return service.page(session, window, base)


@router.get("/{set_id}", dependencies=[VIEWER], responses=problem_responses(SetNotFound))
def read(set_id: SetId, session: SessionDep, base: BaseDep) -> SetOut:
    """One set."""
    return service.show(session, [service.get(session, set_id)], base)[0]


@router.delete("/{set_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problem_responses(SetNotFound, SetInUse))
def delete(set_id: SetId, session: SessionDep, actor: OperatorActor) -> None:
    """Forget a set."""
    service.delete(session, set_id, actor=actor)


@router.post(
    "/{set_id}/assignedTargets",
    responses=problem_responses(SetNotFound, SetIncomplete, TargetNotFound, NotSupported, TargetBusy),
)
def assign(
    set_id: SetId,
    bodies: Annotated[list[AssignmentIn], Body(min_length=1, max_length=MOST_BODIES)],
    session: SessionDep,
    base: BaseDep,
    actor: OperatorActor,
) -> AssignedOut:
    """Give the set to targets. What a target was at is superseded."""
    return assigning.assign(session, set_id, bodies, base, actor=actor)
