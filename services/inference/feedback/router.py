"""Routes of corrected masks."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, status
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from services.inference.engine.served import DeploymentNotFound, DeploymentNotReady
from services.inference.feedback import datasets, service
from services.inference.feedback.errors import BadMask, DatasetRefused, FeedbackDisabled, FeedbackNotFound, NoFeedback
from services.inference.feedback.models import Feedback
from services.inference.registry.errors import ModelsAway
from services.inference.runtime import ServicesDep
from services.inference.segmentation.bodies import Asked, read_body
from services.inference.segmentation.errors import BadForm, BadImage, ImageTooLarge, UnsupportedBody
from shared.contracts.base import Name, digest_of
from shared.contracts.feedback import FeedbackDatasetIn, FeedbackDatasetOut, FeedbackIn, FeedbackOut
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.segmentation import body_schema
from shared.kit.auth import Credentials, OperatorActor, ViewerActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep, newest_first
from shared.kit.problems import InvalidJson, InvalidRequest, RangeNotSatisfiable, problem_responses
from shared.kit.ranges import serve_ranges

router = APIRouter(prefix="/v1/feedback", tags=["feedback"])
_OPERATOR = [requires(Scope.OPERATOR)]
_REFUSED: Final = (
    BadForm, InvalidJson, DeploymentNotFound, FeedbackDisabled, IdempotencyConflict, ImageTooLarge, UnsupportedBody,
    InvalidRequest, BadImage, BadMask, DeploymentNotReady,
)  # fmt: skip


async def asked_of(request: Request) -> Asked[FeedbackIn]:
    """The body, read by hand: it may be a form."""
    body = await request.body()
    return await run_in_threadpool(read_body, request.headers.get("content-type", ""), body, FeedbackIn)


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=FeedbackOut,
    responses=problem_responses(*_REFUSED),
    openapi_extra={"requestBody": body_schema(FeedbackIn)},
)
def store(
    actor: ViewerActor,
    asked: Annotated[Asked[FeedbackIn], Depends(asked_of)],
    session: SessionDep,
    services: ServicesDep,
    once: OnceDep,
) -> Response:
    """Keep a mask as it should have been, with its image and prompt, if the deployment collects such corrections."""
    wanted, image = asked.wanted, asked.content()

    def make() -> FeedbackOut:
        return FeedbackOut.model_validate(service.store(session, services, wanted, image, owner=actor.name))

    # What tells two requests apart is what the image holds, not where it was in the body.
    return once.answer(wanted.model_copy(update={"image": digest_of(image)}), make)


@router.get("", response_model=Page[FeedbackOut], dependencies=_OPERATOR)
def list_all(session: SessionDep, page: PageDep, deployment: Annotated[Name | None, Query()] = None) -> Page[FeedbackOut]:
    """Corrections, newest first."""
    rows, following = newest_first(session, service.of_deployment(deployment), Feedback.id, page)
    return Page(items=[FeedbackOut.model_validate(row) for row in rows], next_cursor=following)


@router.post(
    "/datasets",
    status_code=status.HTTP_201_CREATED,
    response_model=FeedbackDatasetOut,
    responses=problem_responses(InvalidJson, NoFeedback, DatasetRefused, IdempotencyConflict, ModelsAway),
)
def make_dataset(
    body: FeedbackDatasetIn,
    actor: OperatorActor,
    credentials: Credentials,
    session: SessionDep,
    services: ServicesDep,
    once: OnceDep,
) -> Response:
    """Make a dataset of all corrections that are kept, for the next training; the jobs service imports it."""
    del actor
    secret = credentials.credentials if credentials is not None else ""
    return once.answer(body, lambda: datasets.make(session, services, body, secret=secret))


@router.get("/{feedback_id}", response_model=FeedbackOut, dependencies=_OPERATOR, responses=problem_responses(FeedbackNotFound))
def read(feedback_id: str, session: SessionDep) -> Feedback:
    """One correction."""
    return service.get(session, feedback_id)


@router.get(
    "/{feedback_id}/image",
    dependencies=_OPERATOR,
    response_class=Response,
    responses=problem_responses(FeedbackNotFound, RangeNotSatisfiable),
)
def read_image(feedback_id: str, request: Request, session: SessionDep, services: ServicesDep) -> Response:
    """Its image, upright."""
    row = service.get(session, feedback_id)
    return serve_ranges(
        request,
        etag=row.image,
        size_bytes=services.feedback.size(row.image),
        read=lambda start, end: services.feedback.open_range(row.image, start, end),
        filename=f"{row.id}.{row.format.lower()}",
    )


@router.delete(
    "/{feedback_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    dependencies=_OPERATOR,
    responses=problem_responses(FeedbackNotFound),
)
def remove(feedback_id: str, session: SessionDep, services: ServicesDep) -> None:
    """Forget a correction, and its image if no other one has it."""
    service.remove(session, services.feedback, [service.get(session, feedback_id)])
