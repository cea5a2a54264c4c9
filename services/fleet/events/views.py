"""Events as users see them."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from sse_starlette import ServerSentEvent

from services.fleet.events.feed import EventFeed
from services.fleet.events.models import Event
from services.fleet.events.repository import Filters
from shared.contracts.rollouts import FleetEvent


def one(event: Event) -> FleetEvent:
    """A single event."""
    return FleetEvent(
        seq=event.seq,
        at=event.at,
        type=event.type,
        actor=event.actor,
        rollout=event.rollout_id,
        camera=event.camera_id,
        detail=event.detail,
    )


async def stream(feed: EventFeed, filters: Filters, after: int) -> AsyncIterator[ServerSentEvent]:
    """Events above ``after`` that fit, as server-sent events."""
    async with aclosing(feed.follow(after)) as batches:
        async for batch in batches:
            for event in filter(filters.match, batch):
                yield ServerSentEvent(id=str(event.seq), event=event.type, data=one(event).model_dump_json(), sep="\n")
