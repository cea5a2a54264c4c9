"""Routes of jobs for users."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Header, Query, status
from fastapi.responses import Response, StreamingResponse
from sqlalchemy.orm import Session
from sse_starlette import EventSourceResponse

from services.jobs.datasets.errors import DatasetNotReady
from services.jobs.jobs import events, kinds, listing, service, submission, views
from services.jobs.jobs.errors import JobChanged, JobNotCancellable, JobNotFound, JobNotRetryable
from services.jobs.jobs.schemas import JobFilters, LogLinesOut, Retry
from services.jobs.models.errors import RegistryAway
from services.jobs.packages.errors import PackagesNotSigned
from services.jobs.runtime import Services, ServicesDep
from shared.contracts.jobs import (
    DistillationSubmission,
    EvaluationSubmission,
    JobKindOut,
    JobOut,
    PackagingSubmission,
    QuantizationSubmission,
    TrainingSubmission,
)
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.kit.auth import Actor, OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, Once, OnceDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_VIEWER = [requires(Scope.VIEWER)]
_OPERATOR = [requires(Scope.OPERATOR)]
_AFTER = {"ge": 0, "le": 2**31 - 1}


_REFUSED = problem_responses(InvalidRequest, DatasetNotReady, IdempotencyConflict, RegistryAway)


@router.post("/training", status_code=status.HTTP_201_CREATED, response_model=JobOut, responses=_REFUSED)
def submit_training(
    body: TrainingSubmission, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor
) -> Response:
    """Queue a training job. `GET /v1/jobs/kinds` has its schema with all defaults, and an example."""
    return _submit(body, session, once, services, actor)


@router.post("/distillation", status_code=status.HTTP_201_CREATED, response_model=JobOut, responses=_REFUSED)
def submit_distillation(
    body: DistillationSubmission, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor
) -> Response:
    """Queue a distillation job: a training that also learns from a teacher, SAM 2.1 or a registered version."""
    return _submit(body, session, once, services, actor)


@router.post("/evaluation", status_code=status.HTTP_201_CREATED, response_model=JobOut, responses=_REFUSED)
def submit_evaluation(
    body: EvaluationSubmission, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor
) -> Response:
    """Queue an evaluation job: registered versions, asked the same prompts and compared."""
    return _submit(body, session, once, services, actor)


@router.post("/quantization", status_code=status.HTTP_201_CREATED, response_model=JobOut, responses=_REFUSED)
def submit_quantization(
    body: QuantizationSubmission, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor
) -> Response:
    """Queue a quantization job: a float version becomes one of 8-bit numbers, for the sensor or for CPUs."""
    return _submit(body, session, once, services, actor)


@router.post(
    "/packaging",
    status_code=status.HTTP_201_CREATED,
    response_model=JobOut,
    responses=problem_responses(InvalidRequest, DatasetNotReady, IdempotencyConflict, RegistryAway, PackagesNotSigned),
)
def submit_packaging(
    body: PackagingSubmission, session: SessionDep, once: OnceDep, services: ServicesDep, actor: OperatorActor
) -> Response:
    """Queue a packaging job: a version quantized for the IMX500 becomes a signed package that cameras install."""
    return _submit(body, session, once, services, actor)


def _submit(body: submission.Body, session: Session, once: Once, services: Services, actor: Actor) -> Response:
    wanted = submission.look_up(services, body)

    def make() -> JobOut:
        return views.one(session, services, submission.submit(session, wanted, owner=actor.name))

    return once.answer(body, make)


@router.get("/kinds", response_model=list[JobKindOut], dependencies=_VIEWER)
def list_kinds(session: SessionDep, services: ServicesDep) -> list[JobKindOut]:
    """The kinds of jobs: the JSON schema of their submission with defaults and ranges, and an example that works."""
    return kinds.describe(session, services.blobs)


@router.get("", response_model=Page[JobOut], dependencies=_VIEWER)
def list_all(
    session: SessionDep, services: ServicesDep, page: PageDep, filters: Annotated[JobFilters, Depends(JobFilters)]
) -> Page[JobOut]:
    """Jobs, newest first. All given filters must match; a repeated `kind` or `state` means any of them."""
    rows, following = listing.page(session, filters, page)
    return Page(items=views.many(session, services, rows), next_cursor=following)


@router.get("/{job_id}", response_model=JobOut, dependencies=_VIEWER, responses=problem_responses(JobNotFound))
def read(job_id: str, session: SessionDep, services: ServicesDep) -> JobOut:
    """One job. `waiting_for` says why a queued one waits."""
    return views.one(session, services, service.get(session, job_id))


@router.post(
    "/{job_id}/cancel",
    response_model=JobOut,
    dependencies=_OPERATOR,
    responses=problem_responses(JobNotFound, JobNotCancellable, JobChanged),
)
def cancel(job_id: str, session: SessionDep, services: ServicesDep) -> JobOut:
    """Stop a job: a queued one is cancelled at once, a running one becomes `cancelling` until its worker has stopped."""
    return views.one(session, services, service.cancel(session, job_id))


@router.post(
    "/{job_id}/retry",
    response_model=JobOut,
    dependencies=_OPERATOR,
    responses=problem_responses(JobNotFound, JobNotRetryable, JobChanged, IdempotencyConflict),
)
def retry(
    job_id: str, session: SessionDep, once: OnceDep, services: ServicesDep, options: Annotated[Retry, Query()]
) -> Response:
    """Queue a failed or cancelled job again. It goes on from its last checkpoint unless `from_checkpoint=false`."""

    def make() -> JobOut:
        job = service.retry(session, job_id, from_checkpoint=options.from_checkpoint)
        return views.one(session, services, job)

    return once.answer(options, make, status=status.HTTP_200_OK)


@router.get(
    "/{job_id}/events",
    dependencies=_VIEWER,
    response_class=EventSourceResponse,
    responses=problem_responses(JobNotFound)
    | {200: {"description": "`id`: seq, `event`: type, `data`: a JobEvent", "content": {"text/event-stream": {}}}},
)
def follow(
    job_id: str,
    session: SessionDep,
    services: ServicesDep,
    last_event_id: Annotated[int, Header(**_AFTER, description="go on after this seq")] = 0,
) -> EventSourceResponse:
    """State changes, progress, logs and outputs as server-sent events; ends after the event that ends the job."""
    service.get(session, job_id)
    return EventSourceResponse(events.stream(services, job_id, last_event_id), ping=services.settings.sse_ping_s, sep="\n")


@router.get(
    "/{job_id}/logs",
    dependencies=_VIEWER,
    response_model=LogLinesOut,
    responses=problem_responses(JobNotFound) | {200: {"description": "lines", "content": {"text/plain": {}}}},
)
def logs(
    job_id: str,
    session: SessionDep,
    services: ServicesDep,
    format: Annotated[Literal["text", "json"], Query(description="all lines as text, or a page of them as JSON")] = "text",
    after: Annotated[int, Query(**_AFTER, description="JSON only: lines with a seq above this")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="JSON only")] = 200,
) -> Response | LogLinesOut:
    """The job's log so far: as text, or with `?format=json` as lines with time, level and seq."""
    service.get(session, job_id)
    if format == "json":
        return listing.log_lines(session, job_id, after=after, limit=limit)
    return StreamingResponse(events.log_text(services.sessions, job_id), media_type="text/plain")
