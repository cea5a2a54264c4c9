"""Routes of events, which are the audit log too."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query
from sse_starlette import EventSourceResponse

from services.fleet.events import service, views
from services.fleet.events.feed import last_settled
from services.fleet.events.repository import Filters
from services.fleet.runtime import ServicesDep
from shared.contracts.keys import Scope
from shared.contracts.pages import Page
from shared.contracts.rollouts import FleetEvent
from shared.kit.auth import requires
from shared.kit.database import SessionDep
from shared.kit.pages import PageDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/fleet", tags=["events"])
_VIEWER = [requires(Scope.VIEWER)]
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "`id`: seq, `event`: type, `data`: a FleetEvent", "content": {"text/event-stream": {}}}
}
_Id = Annotated[str | None, Query(max_length=36, pattern=r"^[^\x00]*$", description="id")]
_Type = Annotated[
    str | None, Query(max_length=64, pattern=r"^[^\x00]*$", description="the type begins so, as `camera.` or `rollout.started`")
]
_Audit = Annotated[bool, Query(description="only what somebody did")]


def _filters(rollout: _Id = None, camera: _Id = None, type: _Type = None, audit: _Audit = False) -> Filters:
    return Filters(rollout=rollout, camera=camera, type=type, audit=audit)


FiltersDep = Annotated[Filters, Depends(_filters)]


@router.get("/events", response_model=Page[FleetEvent], dependencies=_VIEWER, responses=problem_responses(InvalidRequest))
def list_all(session: SessionDep, page: PageDep, filters: FiltersDep) -> Page[FleetEvent]:
    """What happened, newest first. With `audit=true` the audit log: who did what, kept for good."""
    shown, following = service.page(session, filters, page)
    return Page(items=shown, next_cursor=following)


@router.get("/events/stream", dependencies=_VIEWER, response_class=EventSourceResponse, responses=_STREAM)
def follow(
    services: ServicesDep,
    filters: FiltersDep,
    last_event_id: Annotated[
        int | None,
        Header(ge=0, le=service.LAST_SEQ, description="go on after this seq; 0: all that is kept; none: from now on"),
    ] = None,
) -> EventSourceResponse:
    """Events as they happen, as server-sent events, without an end. Who comes back with `Last-Event-ID` has missed nothing."""
    after = last_settled(services.sessions) if last_event_id is None else last_event_id
    stream = views.stream(services.feed, filters, after)
    return EventSourceResponse(stream, ping=services.settings.sse_ping_s, sep="\n")
