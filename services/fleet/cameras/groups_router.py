"""Routes of groups."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, status
from fastapi.responses import Response

from services.fleet.cameras import groups_service, views
from services.fleet.cameras.errors import GroupNotFound
from shared.contracts.base import NAME_PATTERN
from shared.contracts.cameras import CameraOut, GroupIn, GroupOut
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/groups")
_VIEWER = [requires(Scope.VIEWER)]
_NEW: Final[dict[int | str, dict[str, Any]]] = {201: {"model": GroupOut, "description": "It is new"}}
GroupName = Annotated[str, Path(pattern=NAME_PATTERN)]


@router.put("/{name}", response_model=GroupOut, responses=_NEW | problem_responses(InvalidRequest, GroupNotFound))
def put(name: GroupName, body: GroupIn, session: SessionDep, actor: OperatorActor, response: Response) -> GroupOut:
    """Make the group what the body says. Rollouts that were made for it keep the selector that it had then."""
    new = groups_service.put(session, name, body, actor=actor)
    response.status_code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    return groups_service.shown(session, groups_service.get(session, name))


@router.get("", response_model=Page[GroupOut], dependencies=_VIEWER)
def list_all(session: SessionDep, page: PageDep) -> Page[GroupOut]:
    """Groups by name."""
    shown, following = groups_service.page(session, page)
    return Page(items=shown, next_cursor=following)


@router.get("/{name}", response_model=GroupOut, dependencies=_VIEWER, responses=problem_responses(GroupNotFound))
def read(name: GroupName, session: SessionDep) -> GroupOut:
    """One group, and how many cameras are in it now."""
    return groups_service.shown(session, groups_service.get(session, name))


@router.get("/{name}/cameras", response_model=Page[CameraOut], dependencies=_VIEWER, responses=problem_responses(GroupNotFound))
def list_cameras(name: GroupName, session: SessionDep, page: PageDep) -> Page[CameraOut]:
    """The cameras that are in it now, newest first."""
    rows, following = groups_service.cameras(session, name, page)
    return Page(items=views.many(session, rows), next_cursor=following)


@router.delete("/{name}", status_code=status.HTTP_204_NO_CONTENT, responses=problem_responses(GroupNotFound))
def delete(name: GroupName, session: SessionDep, actor: OperatorActor) -> None:
    """Remove a group. Its cameras stay; rollouts that were made for it go on, since they keep its selector."""
    groups_service.delete(session, name, actor=actor)
