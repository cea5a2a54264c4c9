"""Routes of workers: what users see of them, and how they say that they are there."""

from fastapi import APIRouter, status

from services.jobs.runtime import ServicesDep
from services.jobs.workers import service
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.worker import WorkerHello, WorkerOut
from shared.kit.auth import requires
from shared.kit.database import SessionDep

router = APIRouter(tags=["workers"])


@router.get("/v1/workers", response_model=Page[WorkerOut], dependencies=[requires(Scope.VIEWER)])
def list_all(session: SessionDep, services: ServicesDep) -> Page[WorkerOut]:
    """Workers of the last days, by name; one page holds them all."""
    return Page(items=service.known(session, services))


@router.post("/v1/worker/hello", status_code=status.HTTP_204_NO_CONTENT, dependencies=[requires(Scope.WORKER)])
def hello(body: WorkerHello, session: SessionDep) -> None:
    """A worker says that it is there: at its start and every 10 s."""
    service.hello(session, body)
