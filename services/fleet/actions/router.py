"""Routes of actions."""

from typing import Annotated, Final

from fastapi import APIRouter, Path

from services.fleet.actions import repository, views
from services.fleet.actions.errors import ActionNotFound
from services.fleet.cameras.models import Camera
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.rollouts import ActionOut
from shared.kit.auth import requires
from shared.kit.database import SessionDep
from shared.kit.pages import PageDep
from shared.kit.problems import NotFound, problem_responses

router = APIRouter(prefix="/v1/fleet", tags=["actions"])
_VIEWER: Final = [requires(Scope.VIEWER)]

ActionId = Annotated[int, Path(ge=1, le=repository.LARGEST)]
CameraId = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[!-~]+$")]


@router.get("/actions/{action_id}", response_model=ActionOut, dependencies=_VIEWER, responses=problem_responses(ActionNotFound))
def read(action_id: ActionId, session: SessionDep) -> ActionOut:
    """One camera's part in a rollout, with all that happened."""
    action = repository.find(session, action_id)
    if action is None:
        raise ActionNotFound(f"There is no action {action_id}.", action=action_id)
    return views.one(session, action, repository.history(session, action_id))


@router.get(
    "/cameras/{camera_id}/actions",
    response_model=Page[ActionOut],
    dependencies=_VIEWER,
    responses=problem_responses(NotFound),
)
def list_of_camera(camera_id: CameraId, session: SessionDep, page: PageDep) -> Page[ActionOut]:
    """What a camera had to do, newest first; also of one that was deleted."""
    if session.get(Camera, camera_id) is None:
        hint = "`GET /v1/fleet/cameras` lists those there are"
        raise NotFound(f"There is no camera {camera_id!r}.", hint=hint, camera=camera_id)
    rows, following = repository.page(session, repository.of_camera(camera_id), page)
    return Page(items=views.many(session, rows), next_cursor=following)
