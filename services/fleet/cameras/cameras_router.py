"""Routes of cameras."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, status
from fastapi.responses import Response

from services.fleet.cameras import replacing, service, views
from services.fleet.cameras.errors import (
    CameraChangedMeanwhile,
    CameraNotFound,
    GroupNotFound,
    ReplacementRefused,
    TokenAlreadyShown,
)
from services.fleet.cameras.registering import CameraExists
from services.fleet.cameras.schemas import CameraFilters, NoBody
from shared.contracts.cameras import CameraChange, CameraCreated, CameraIn, CameraOut, ReplaceIn
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/cameras")
_VIEWER = [requires(Scope.VIEWER)]
CameraId = Annotated[str, Path(min_length=1, max_length=64)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=CameraCreated,
    responses=problem_responses(CameraExists, TokenAlreadyShown, IdempotencyConflict, InvalidRequest),
)
def register(body: CameraIn, session: SessionDep, once: OnceDep, actor: OperatorActor) -> Response:
    """Make a camera known. The token that it polls with is shown in this answer only."""

    def make() -> CameraCreated:
        return views.created(session, *service.register(session, body, actor=actor))

    return once.answer_secretly(body, make, already=TokenAlreadyShown)


@router.get(
    "",
    response_model=Page[CameraOut],
    dependencies=_VIEWER,
    responses=problem_responses(GroupNotFound, InvalidRequest),
)
def list_all(session: SessionDep, page: PageDep, filters: Annotated[CameraFilters, Depends(CameraFilters)]) -> Page[CameraOut]:
    """Cameras that fit all filters, newest first."""
    rows, following = service.page(session, filters, page)
    return Page(items=views.many(session, rows), next_cursor=following)


@router.get("/{camera_id}", response_model=CameraOut, dependencies=_VIEWER, responses=problem_responses(CameraNotFound))
def read(camera_id: CameraId, session: SessionDep) -> CameraOut:
    """One camera; also one that was deleted or replaced, as `deleted_at` and `replaced_by` then say."""
    return views.one(session, service.get(session, camera_id))


@router.patch("/{camera_id}", response_model=CameraOut, responses=problem_responses(CameraNotFound))
def change(camera_id: CameraId, body: CameraChange, session: SessionDep, actor: OperatorActor) -> CameraOut:
    """Other labels (all of them), another format. What is null stays."""
    return views.one(session, service.change(session, camera_id, body, actor=actor))


@router.delete("/{camera_id}", status_code=status.HTTP_204_NO_CONTENT, responses=problem_responses(CameraNotFound))
def delete(camera_id: CameraId, session: SessionDep, actor: OperatorActor) -> None:
    """Forget a camera: its token counts no more, its open actions are cancelled, its controller id is free again."""
    service.delete(session, camera_id, actor=actor)


@router.post(
    "/{camera_id}/token",
    status_code=status.HTTP_201_CREATED,
    response_model=CameraCreated,
    responses=problem_responses(CameraNotFound, TokenAlreadyShown, IdempotencyConflict),
)
def renew_token(camera_id: CameraId, session: SessionDep, once: OnceDep, actor: OperatorActor) -> Response:
    """Exchange the token: the one before counts no more. The new one is shown in this answer only."""

    def make() -> CameraCreated:
        return views.created(session, *service.renew_token(session, camera_id, actor=actor))

    return once.answer_secretly(NoBody(), make, already=TokenAlreadyShown)


@router.post(
    "/{camera_id}/replace",
    response_model=CameraOut,
    responses=problem_responses(
        CameraNotFound, ReplacementRefused, CameraChangedMeanwhile, IdempotencyConflict, InvalidRequest
    ),
)
def replace(camera_id: CameraId, body: ReplaceIn, session: SessionDep, once: OnceDep, actor: OperatorActor) -> Response:
    """Let another camera take its place: labels, groups, and what it had still to install. The answer is the successor."""

    def make() -> CameraOut:
        return views.one(session, replacing.replace(session, camera_id, body.successor, actor=actor))

    return once.answer(body, make, status=status.HTTP_200_OK)


@router.post("/{camera_id}/attributes/refresh", response_model=CameraOut, responses=problem_responses(CameraNotFound))
def refresh_attributes(camera_id: CameraId, session: SessionDep, actor: OperatorActor) -> CameraOut:
    """Have the device tell its attributes anew when it polls next."""
    return views.one(session, service.ask_attributes(session, camera_id, actor=actor))
