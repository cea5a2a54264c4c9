"""Routes of sweeps."""

from typing import Annotated

from fastapi import APIRouter, Query, status
from fastapi.responses import Response

from services.jobs.datasets.errors import DatasetNotReady
from services.jobs.models.errors import RegistryAway
from services.jobs.runtime import ServicesDep
from services.jobs.sweeps import repository, service, views
from services.jobs.sweeps.errors import SweepNotCancellable, SweepNotFound
from services.jobs.sweeps.models import Sweep
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.pipelines import PipelineState, SweepIn, SweepOut
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep, newest_first
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/sweeps", tags=["sweeps"])
_VIEWER = [requires(Scope.VIEWER)]
_OPERATOR = [requires(Scope.OPERATOR)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=SweepOut,
    responses=problem_responses(InvalidRequest, DatasetNotReady, IdempotencyConflict, RegistryAway),
)
def submit(body: SweepIn, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor) -> Response:
    """Run many jobs that differ in some fields, below one MLflow run. Each value of each field is tried out here first."""
    proposal = service.propose(services, body)

    def make() -> SweepOut:
        return views.one(session, services, service.create(session, proposal, owner=actor.name))

    return once.answer(body, make)


@router.get("", response_model=Page[SweepOut], dependencies=_VIEWER)
def list_all(
    session: SessionDep,
    services: ServicesDep,
    page: PageDep,
    state: Annotated[list[PipelineState] | None, Query(max_length=16)] = None,
    name: Annotated[str | None, Query(max_length=128, pattern=r"^[^\x00]*$")] = None,
) -> Page[SweepOut]:
    """Sweeps, newest first, without their trials. A repeated `state` means any of them."""
    rows, following = newest_first(session, repository.filtered(state or (), name), Sweep.id, page)
    return Page(items=views.many(session, services, rows), next_cursor=following)


@router.get("/{sweep_id}", response_model=SweepOut, dependencies=_VIEWER, responses=problem_responses(SweepNotFound))
def read(sweep_id: str, session: SessionDep, services: ServicesDep) -> SweepOut:
    """One sweep with all its trials."""
    return views.one(session, services, service.get(session, sweep_id))


@router.post(
    "/{sweep_id}/cancel",
    response_model=SweepOut,
    dependencies=_OPERATOR,
    responses=problem_responses(SweepNotFound, SweepNotCancellable),
)
def cancel(sweep_id: str, session: SessionDep, services: ServicesDep) -> SweepOut:
    """Start no more trials and stop those that run. It is `cancelling` until these have stopped."""
    return views.one(session, services, service.cancel(session, sweep_id))
