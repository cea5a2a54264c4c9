"""Routes of rollouts."""

from typing import Annotated, Final

from fastapi import APIRouter, BackgroundTasks, Path, Query, status
from fastapi.responses import Response
from sqlalchemy import Select, select

from services.fleet.actions import repository as actions
from services.fleet.actions import views as action_views
from services.fleet.packages.models import Package
from services.fleet.rollouts import creating, repository, service, views
from services.fleet.rollouts.engine import TICK
from services.fleet.rollouts.errors import RolloutElsewhere, RolloutNotFound
from services.fleet.rollouts.models import Rollout
from services.fleet.rollouts.preview import preview
from services.fleet.runtime import ServicesDep
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.rollouts import (
    ActionOut,
    ActionState,
    CloneIn,
    PackageRef,
    PreviewOut,
    ReasonIn,
    RolloutIn,
    RolloutOut,
    RolloutState,
)
from shared.kit.auth import OperatorActor, requires
from shared.kit.database import SessionDep
from shared.kit.idempotency import IdempotencyConflict, OnceDep
from shared.kit.pages import PageDep, newest_first
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/fleet/rollouts", tags=["rollouts"])
_VIEWER: Final = [requires(Scope.VIEWER)]
_DEED: Final = problem_responses(RolloutNotFound, RolloutElsewhere)
_READ: Final = problem_responses(RolloutNotFound)
_NEW: Final = problem_responses(InvalidRequest, IdempotencyConflict)

RolloutId = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
NoReason: Final = ReasonIn()


@router.post("", status_code=status.HTTP_201_CREATED, response_model=RolloutOut, responses=_NEW)
def create(
    body: RolloutIn, session: SessionDep, services: ServicesDep, actor: OperatorActor, once: OnceDep, after: BackgroundTasks
) -> Response:
    """Make a rollout. It is a draft until it is started, unless `start` is true."""
    after.add_task(services.wake, TICK)
    return once.answer(body, lambda: views.one(session, service.make(session, body, actor=actor)))


@router.get("", response_model=Page[RolloutOut], dependencies=_VIEWER)
def list_all(
    session: SessionDep,
    page: PageDep,
    state: Annotated[list[RolloutState] | None, Query(max_length=8, description="only in one of these states")] = None,
    package: Annotated[PackageRef | None, Query(description="only of this package, as picosam2/3")] = None,
) -> Page[RolloutOut]:
    """Rollouts, newest first."""
    packages = None if package is None else session.scalars(_package_ids(package)).all()
    rows, following = newest_first(session, repository.listed(state or [], packages), Rollout.id, page)
    return Page(items=views.many(session, rows), next_cursor=following)


def _package_ids(ref: str) -> Select[str]:
    name, _, version = ref.rpartition("/")
    return select(Package.id).where(Package.name == name, Package.version == version)


@router.get("/{rollout_id}", response_model=RolloutOut, dependencies=_VIEWER, responses=_READ)
def read(rollout_id: RolloutId, session: SessionDep) -> RolloutOut:
    """One rollout as it stands."""
    return views.one(session, service.get(session, rollout_id))


@router.get("/{rollout_id}/preview", response_model=PreviewOut, dependencies=_VIEWER, responses=_READ)
def read_preview(rollout_id: RolloutId, session: SessionDep) -> PreviewOut:
    """Which cameras it would touch if it started now."""
    return preview(session, service.get(session, rollout_id))


@router.get("/{rollout_id}/actions", response_model=Page[ActionOut], dependencies=_VIEWER, responses=_READ)
def list_actions(
    rollout_id: RolloutId,
    session: SessionDep,
    page: PageDep,
    phase: Annotated[int | None, Query(ge=1, le=20, description="counted from 1")] = None,
    state: Annotated[list[ActionState] | None, Query(max_length=13, description="only in one of these states")] = None,
) -> Page[ActionOut]:
    """Each camera's part in it, newest first; restores and earlier tries included."""
    service.get(session, rollout_id)
    rows, following = actions.page(session, actions.of_rollout(rollout_id, phase, state or []), page)
    return Page(items=action_views.many(session, rows), next_cursor=following)


@router.post("/{rollout_id}/start", response_model=RolloutOut, responses=_DEED)
def start(
    rollout_id: RolloutId, session: SessionDep, services: ServicesDep, actor: OperatorActor, after: BackgroundTasks
) -> RolloutOut:
    """Start a draft; one that wants approval waits for it."""
    after.add_task(services.wake, TICK)
    return views.one(session, service.start(session, rollout_id, actor=actor))


@router.post("/{rollout_id}/approve", response_model=RolloutOut, responses=_DEED)
def approve(
    rollout_id: RolloutId,
    session: SessionDep,
    services: ServicesDep,
    actor: OperatorActor,
    after: BackgroundTasks,
    body: ReasonIn = NoReason,
) -> RolloutOut:
    """Approve the rollout, or the phase that waits for it."""
    after.add_task(services.wake, TICK)
    return views.one(session, service.approve(session, rollout_id, actor=actor, reason=body.reason))


@router.post("/{rollout_id}/pause", response_model=RolloutOut, responses=_DEED)
def pause(rollout_id: RolloutId, session: SessionDep, actor: OperatorActor, body: ReasonIn = NoReason) -> RolloutOut:
    """Let no further camera in; those that are at it go on."""
    return views.one(session, service.pause(session, rollout_id, actor=actor, reason=body.reason))


@router.post("/{rollout_id}/resume", response_model=RolloutOut, responses=_DEED)
def resume(
    rollout_id: RolloutId,
    session: SessionDep,
    services: ServicesDep,
    actor: OperatorActor,
    after: BackgroundTasks,
    body: ReasonIn = NoReason,
) -> RolloutOut:
    """Go on. Failures for which it had stopped by itself are accepted; one more stops it again."""
    after.add_task(services.wake, TICK)
    return views.one(session, service.resume(session, rollout_id, actor=actor, reason=body.reason))


@router.post("/{rollout_id}/abort", response_model=RolloutOut, responses=_DEED)
def abort(
    rollout_id: RolloutId,
    session: SessionDep,
    services: ServicesDep,
    actor: OperatorActor,
    after: BackgroundTasks,
    body: ReasonIn = NoReason,
) -> RolloutOut:
    """Stop for good: no further camera is touched, and those that have the package keep it."""
    after.add_task(services.wake, TICK)
    return views.one(session, service.abort(session, rollout_id, actor=actor, reason=body.reason))


@router.post("/{rollout_id}/rollback", response_model=RolloutOut, responses=_DEED)
def rollback(
    rollout_id: RolloutId,
    session: SessionDep,
    services: ServicesDep,
    actor: OperatorActor,
    after: BackgroundTasks,
    body: ReasonIn = NoReason,
) -> RolloutOut:
    """Return every touched camera to its last good package."""
    after.add_task(services.wake, TICK)
    return views.one(session, service.rollback(session, rollout_id, actor=actor, reason=body.reason))


@router.post("/{rollout_id}/retry", response_model=RolloutOut, responses=_DEED)
def retry(
    rollout_id: RolloutId,
    session: SessionDep,
    services: ServicesDep,
    actor: OperatorActor,
    after: BackgroundTasks,
    body: ReasonIn = NoReason,
) -> RolloutOut:
    """Let those cameras try again that failed, expired or were cancelled."""
    after.add_task(services.wake, TICK)
    return views.one(session, service.retry(session, rollout_id, actor=actor, reason=body.reason))


@router.post("/{rollout_id}/clone", status_code=status.HTTP_201_CREATED, response_model=RolloutOut, responses=_READ | _NEW)
def clone(rollout_id: RolloutId, body: CloneIn, session: SessionDep, actor: OperatorActor, once: OnceDep) -> Response:
    """A draft as this one was, maybe of another package."""
    origin = service.get(session, rollout_id)
    return once.answer(body, lambda: views.one(session, creating.clone(session, origin, body, actor=actor)))


@router.delete("/{rollout_id}", status_code=status.HTTP_204_NO_CONTENT, responses=_DEED)
def delete(rollout_id: RolloutId, session: SessionDep, actor: OperatorActor) -> None:
    """Remove a draft."""
    service.delete(session, rollout_id, actor=actor)
