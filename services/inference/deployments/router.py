"""Routes of deployments."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, BackgroundTasks, Header, Path, Query, status
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from services.inference.deployments import repository, service, settling, views
from services.inference.deployments.converge import CONVERGE
from services.inference.deployments.domain import etag_of
from services.inference.deployments.errors import GenerationNotFound, OtherTarget, PreconditionFailed
from services.inference.deployments.fleet import ROLL_OUT
from services.inference.engine.served import DeploymentNotFound
from services.inference.registry.errors import ModelsAway
from services.inference.runtime import Services, ServicesDep
from shared.contracts.base import NAME_PATTERN
from shared.contracts.deployments import DeploymentIn, DeploymentOut, RevisionOut, RollbackIn
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/deployments", tags=["deployments"])
_VIEWER = [requires(Scope.VIEWER)]
_OPERATOR = [requires(Scope.OPERATOR)]
_NEW: Final[dict[int | str, dict[str, Any]]] = {201: {"model": DeploymentOut, "description": "It is new"}}

DeploymentName = Annotated[str, Path(pattern=NAME_PATTERN)]
IfMatch = Annotated[
    str | None, Header(max_length=64, description='the ETag of what is to be changed, as `"3"`: 412 if it has changed since')
]
Wait = Annotated[
    float, Query(ge=0, le=60, description="seconds to wait until it is served everywhere, or has failed; a rollout: has begun")
]


@router.put(
    "/{name}",
    response_model=DeploymentOut,
    responses=_NEW | problem_responses(InvalidRequest, ModelsAway, PreconditionFailed, OtherTarget),
)
async def put(
    name: DeploymentName,
    body: DeploymentIn,
    services: ServicesDep,
    actor: OperatorActor,
    if_match: IfMatch = None,
    wait_s: Wait = 0,
) -> Response:
    """Serve these versions under this name, or bring this package to a group of cameras. What is so already makes no new
    generation.

    The answer comes before the versions are loaded; `ready` and `replicas` say how far that is. Until a replica has loaded
    and checked all of them, it serves what it served before. On a fleet, `rollout` says how far it is; a rollout of the
    generation before that still runs is aborted, and its cameras keep what they have until their turn comes.
    """
    new = await run_in_threadpool(service.put, services, name, body, by=actor.name, if_match=if_match)
    _wake(services)
    shown = await settling.settled(services, name, wait_s)
    code = status.HTTP_201_CREATED if new else status.HTTP_200_OK
    return Response(shown.model_dump_json(), code, {"ETag": etag_of(shown.generation)}, media_type="application/json")


@router.get("", response_model=Page[DeploymentOut], dependencies=_VIEWER)
def list_all(services: ServicesDep, page: PageDep) -> Page[DeploymentOut]:
    """Deployments, newest first."""
    return settling.page(services, page)


@router.get("/{name}", response_model=DeploymentOut, dependencies=_VIEWER, responses=problem_responses(DeploymentNotFound))
def read(name: DeploymentName, services: ServicesDep, response: Response) -> DeploymentOut:
    """One deployment: what it should be, and what each living replica or its rollout makes of it."""
    shown = settling.read(services, name)
    response.headers["ETag"] = etag_of(shown.generation)
    return shown


@router.get(
    "/{name}/revisions",
    response_model=Page[RevisionOut],
    dependencies=_VIEWER,
    responses=problem_responses(DeploymentNotFound),
)
def list_revisions(name: DeploymentName, session: SessionDep, page: PageDep) -> Page[RevisionOut]:
    """All generations, newest first."""
    rows, following = repository.revisions(session, service.get(session, name).id, page)
    return Page(items=[views.revision(row) for row in rows], next_cursor=following)


@router.post(
    "/{name}/rollback",
    response_model=DeploymentOut,
    responses=problem_responses(DeploymentNotFound, GenerationNotFound, IdempotencyConflict),
)
def rollback(
    name: DeploymentName,
    session: SessionDep,
    once: OnceDep,
    services: ServicesDep,
    actor: OperatorActor,
    after: BackgroundTasks,
    body: RollbackIn | None = None,
) -> Response:
    """Serve what an earlier generation served, by default the one before, with the very versions that its aliases named then.

    It follows no alias any more, lest it be rolled forward at once. On a fleet, going back by one generation rolls its rollout
    back: each camera returns to the package that it had before.
    """
    wanted = body or RollbackIn()

    def make() -> DeploymentOut:
        return views.one(session, services, service.rollback(session, name, wanted, by=actor.name))

    after.add_task(_wake, services)
    return once.answer(wanted, make, status=status.HTTP_200_OK)


@router.delete(
    "/{name}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=_OPERATOR,
    responses=problem_responses(DeploymentNotFound, PreconditionFailed),
)
def delete(
    name: DeploymentName, session: SessionDep, services: ServicesDep, after: BackgroundTasks, if_match: IfMatch = None
) -> None:
    """Serve it no more. Requests that are being answered are answered. On a fleet: its rollout is aborted, and cameras stay as
    they are.
    """
    service.delete(session, name, if_match=if_match)
    after.add_task(_wake, services)


def _wake(services: Services) -> None:
    for loop in (CONVERGE, ROLL_OUT):
        services.wake(loop)
