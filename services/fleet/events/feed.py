"""The stream of events: one look into the database every half second for all who listen to this process.

Postgres numbers events when they are written, but they show when their transaction commits, maybe in another order. Nobody
who has gone past a number would ever see it. So nothing goes past a number that is missing until what follows it is 5 s old:
the transaction that took it has been rolled back by then, or takes longer than any here may.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from threading import Event as ThreadEvent
from typing import Final

import structlog
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool

from services.fleet.events import repository
from services.fleet.events.models import Event
from shared.kit.database import begin_reading, db_now

log = structlog.get_logger(__name__)

POLL_S: Final = 0.5
GAP: Final = timedelta(seconds=5)
BATCH: Final = 500
_KEPT: Final = 2000
"""Events kept in memory for those who listen; who is further behind reads the database."""


def settled(sessions: sessionmaker[Session], after: int) -> Sequence[Event]:
    """The next events above ``after`` that no other can come before."""
    with sessions.begin() as session:
        begin_reading(session)
        now = db_now(session)
        rows = repository.after(session, after, BATCH)
    expected = after + 1
    for place, row in enumerate(rows):
        if row.seq != expected and row.at > now - GAP:
            return rows[:place]
        expected = row.seq + 1
    return rows


def last_settled(sessions: sessionmaker[Session]) -> int:
    """The seq that events from now on are above, and none before now that anybody could have seen."""
    with sessions.begin() as session:
        begin_reading(session)
        position = repository.last_before(session, db_now(session) - GAP)
    while rows := settled(sessions, position):
        position = rows[-1].seq
    return position


class EventFeed:
    """The newest events of the fleet, for all who listen to this process. Only the thread of the event loop may use it."""

    def __init__(self, sessions: sessionmaker[Session], stopping: ThreadEvent) -> None:
        self._sessions, self._stopping = sessions, stopping
        self._listeners = 0
        self._poller: asyncio.Task[None] | None = None
        self._recent: deque[Event] = deque()
        self._floor: int | None = None
        """``_recent`` has all settled events above it. None: not known yet."""
        self._position = 0
        """The last settled event that was read."""
        self._pulse = asyncio.Event()

    async def follow(self, after: int) -> AsyncGenerator[Sequence[Event], None]:
        """Events above ``after`` in order, as they come. Ends when the service stops."""
        self._listeners += 1
        self._poller = self._poller or asyncio.create_task(self._poll())
        try:
            while not self._stopping.is_set():
                pulse = self._pulse
                if found := await self._next(after):
                    after = found[-1].seq
                    yield found
                else:
                    await pulse.wait()
        finally:
            self._leave()

    async def _next(self, position: int) -> Sequence[Event]:
        if self._floor is None or position < self._floor:
            return await run_in_threadpool(settled, self._sessions, position)
        return [] if position >= self._position else [event for event in self._recent if event.seq > position]

    def _leave(self) -> None:
        self._listeners -= 1
        if not self._listeners and self._poller is not None:
            self._poller.cancel()
            self._poller, self._floor = None, None
            self._recent.clear()

    async def _poll(self) -> None:
        while not self._stopping.is_set():
            try:
                more = await self._look()
            except Exception:  # whatever it is, those who listen must not wait for ever
                log.exception("events.not_read")
                more = False
            self._wake()
            if not more:
                await asyncio.sleep(POLL_S)
        self._wake()

    async def _look(self) -> bool:
        """Read what is new; True if there may be more."""
        if self._floor is None:
            self._floor = self._position = await run_in_threadpool(last_settled, self._sessions)
        rows = await run_in_threadpool(settled, self._sessions, self._position)
        if rows:
            self._recent.extend(rows)
            self._position = rows[-1].seq
        while len(self._recent) > _KEPT:
            self._floor = self._recent.popleft().seq
        return len(rows) == BATCH

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()
