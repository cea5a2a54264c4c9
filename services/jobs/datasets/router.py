"""Routes of datasets."""

from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, status
from fastapi.responses import Response, StreamingResponse

from services.jobs.datasets import repository, service
from services.jobs.datasets.errors import DatasetInUse, DatasetNameTaken, DatasetNotFound, DatasetNotReady, PathRefused
from services.jobs.datasets.models import Dataset
from services.jobs.runtime import ServicesDep
from shared.contracts.datasets import DatasetIn, DatasetOut, DatasetReport, DatasetState
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])
_VIEWER = [requires(Scope.VIEWER)]


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=DatasetOut,
    responses=problem_responses(DatasetNameTaken, IdempotencyConflict, PathRefused),
)
def register(body: DatasetIn, session: SessionDep, services: ServicesDep, actor: OperatorActor, once: OnceDep) -> Response:
    """Register a dataset; `import_job` validates it and makes it ready."""

    def make() -> DatasetOut:
        roots = services.settings.dataset_roots
        dataset = service.register_dataset(session, body, owner=actor.name, blobs=services.blobs, allowed=roots)
        return DatasetOut.model_validate(dataset)

    return once.answer(body, make)


@router.get("", response_model=Page[DatasetOut], dependencies=_VIEWER)
def list_all(session: SessionDep, page: PageDep, state: Annotated[DatasetState | None, Query()] = None) -> Page[DatasetOut]:
    """Datasets, newest first."""
    rows, following = repository.page(session, state, page)
    return Page(items=[DatasetOut.model_validate(row) for row in rows], next_cursor=following)


@router.get("/{dataset}", response_model=DatasetOut, dependencies=_VIEWER, responses=problem_responses(DatasetNotFound))
def read(dataset: str, session: SessionDep) -> Dataset:
    """One dataset by name or id."""
    return repository.get(session, dataset)


@router.get(
    "/{dataset}/report",
    response_model=DatasetReport,
    dependencies=_VIEWER,
    responses=problem_responses(DatasetNotFound, DatasetNotReady),
)
def report(dataset: str, session: SessionDep, services: ServicesDep) -> Response:
    """What validation found: every bad row that was left out, and why."""
    chunks = services.blobs.open_range(service.report_digest(session, dataset))
    return StreamingResponse(chunks, media_type="application/json")


@router.delete(
    "/{dataset}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=[requires(Scope.OPERATOR)],
    responses=problem_responses(DatasetNotFound, DatasetInUse),
)
def delete(
    dataset: str,
    session: SessionDep,
    services: ServicesDep,
    after: BackgroundTasks,
    force: Annotated[bool, Query(description="also if jobs read it: they fail with `dataset_gone`")] = False,
) -> None:
    """Forget a dataset, its shards and its uploaded or generated files. Folders registered in place stay as they are."""
    freed = service.delete_dataset(session, dataset, force=force)
    after.add_task(services.blobs.delete_all, freed)
