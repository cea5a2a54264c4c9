"""Routes of pipelines."""

from typing import Annotated

from fastapi import APIRouter, Query, status
from fastapi.responses import Response

from services.jobs.datasets.errors import DatasetNotReady
from services.jobs.models.errors import RegistryAway
from services.jobs.pipelines import repository, service, views
from services.jobs.pipelines.errors import PipelineNotCancellable, PipelineNotFound, PipelineNotRetryable
from services.jobs.pipelines.models import Pipeline
from services.jobs.pipelines.templates import TEMPLATES
from services.jobs.runtime import ServicesDep
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.pipelines import PipelineIn, PipelineOut, PipelineState, RetryIn, TemplateOut
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep, newest_first
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/pipelines", tags=["pipelines"])
_VIEWER = [requires(Scope.VIEWER)]
_OPERATOR = [requires(Scope.OPERATOR)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=PipelineOut,
    responses=problem_responses(InvalidRequest, DatasetNotReady, IdempotencyConflict, RegistryAway),
)
def submit(body: PipelineIn, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor) -> Response:
    """Run jobs that build on each other. Whatever is wrong with any step is refused here, before anything starts."""
    proposal = service.propose(services, body)

    def make() -> PipelineOut:
        return views.one(session, services, service.create(session, proposal, owner=actor.name))

    return once.answer(body, make)


@router.get("/templates", response_model=list[TemplateOut], dependencies=_VIEWER)
def list_templates() -> list[TemplateOut]:
    """Pipelines that only need their parameters, with the JSON schema of these."""
    return [template.shown() for template in TEMPLATES.values()]


@router.get("", response_model=Page[PipelineOut], dependencies=_VIEWER)
def list_all(
    session: SessionDep,
    services: ServicesDep,
    page: PageDep,
    state: Annotated[list[PipelineState] | None, Query(max_length=16)] = None,
    name: Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00]*$")] = None,
) -> Page[PipelineOut]:
    """Pipelines, newest first. A repeated `state` means any of them."""
    rows, following = newest_first(session, repository.filtered(state or (), name), Pipeline.id, page)
    return Page(items=views.many(session, services, rows), next_cursor=following)


@router.get("/{pipeline_id}", response_model=PipelineOut, dependencies=_VIEWER, responses=problem_responses(PipelineNotFound))
def read(pipeline_id: str, session: SessionDep, services: ServicesDep) -> PipelineOut:
    """One pipeline with its steps: their states, jobs, progress, figures and models."""
    return views.one(session, services, service.get(session, pipeline_id))


@router.post(
    "/{pipeline_id}/cancel",
    response_model=PipelineOut,
    dependencies=_OPERATOR,
    responses=problem_responses(PipelineNotFound, PipelineNotCancellable),
)
def cancel(pipeline_id: str, session: SessionDep, services: ServicesDep) -> PipelineOut:
    """Stop all of it. It is `cancelling` until the jobs that run have stopped."""
    return views.one(session, services, service.cancel(session, pipeline_id))


@router.post(
    "/{pipeline_id}/retry",
    response_model=PipelineOut,
    dependencies=_OPERATOR,
    responses=problem_responses(PipelineNotFound, PipelineNotRetryable, InvalidRequest, IdempotencyConflict),
)
def retry(pipeline_id: str, session: SessionDep, once: OnceDep, services: ServicesDep, body: RetryIn | None = None) -> Response:
    """Run what has not succeeded again, and with `from_step` that step and all that builds on it. The rest is kept."""
    wanted = body or RetryIn()

    def make() -> PipelineOut:
        return views.one(session, services, service.retry(session, pipeline_id, wanted))

    return once.answer(wanted, make, status=status.HTTP_200_OK)
