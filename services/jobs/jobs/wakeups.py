"""Wakes the readers of event streams in this process. One subscription to Redis serves all of them.

A wake-up carries nothing: readers look into the database. While Redis is away they look at short intervals instead.
"""

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import structlog
from redis import Redis
from redis.exceptions import RedisError

from services.jobs.jobs.messenger import CHANNEL

log = structlog.get_logger(__name__)

POLL_S: Final = 1.0
"""How often a reader looks into the database while nobody can wake it."""
CALM_POLL_S: Final = 5.0
"""The same while Redis is there: a wake-up may be lost with its sender."""


@dataclass(eq=False, slots=True)
class Waiter:
    """One reader, waiting in its event loop."""

    loop: asyncio.AbstractEventLoop
    event: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Wake the reader, from any thread."""
        with contextlib.suppress(RuntimeError):  # its event loop has ended
            self.loop.call_soon_threadsafe(self.event.set)

    async def wait(self, timeout_s: float) -> None:
        """Until woken, at most ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.event.wait(), timeout_s)
        self.event.clear()


class Wakeups:
    """The readers of this process by the job that they follow."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self.listening = False
        """True while Redis would wake us."""

    @property
    def patience_s(self) -> float:
        """How long a reader may wait for a wake-up before it looks by itself."""
        return CALM_POLL_S if self.listening else POLL_S

    @contextlib.contextmanager
    def following(self, job_id: str) -> Iterator[Waiter]:
        """A waiter that is woken when ``job_id`` has new events. Call it inside a running event loop."""
        waiter = Waiter(asyncio.get_running_loop())
        with self._lock:
            self._waiters[job_id].add(waiter)
        try:
            yield waiter
        finally:
            self._forget(job_id, waiter)

    def _forget(self, job_id: str, waiter: Waiter) -> None:
        with self._lock:
            self._waiters[job_id].discard(waiter)
            if not self._waiters[job_id]:
                del self._waiters[job_id]

    def wake(self, job_id: str) -> None:
        """Wake the readers of one job."""
        with self._lock:
            waiters = list(self._waiters.get(job_id, ()))
        for waiter in waiters:
            waiter.wake()

    def wake_all(self) -> None:
        """Wake every reader: something may have been missed."""
        with self._lock:
            ids = list(self._waiters)
        for job_id in ids:
            self.wake(job_id)

    def listen(self, redis: Redis, stopping: threading.Event) -> None:
        """Pass on wake-ups from Redis until ``stopping`` is set or Redis goes away."""
        try:
            self._listen(redis, stopping)
        except (RedisError, OSError) as exc:
            if self.listening:
                log.warning("jobs.wakeups_away", error=str(exc))
        finally:
            self.listening = False
            self.wake_all()

    def _listen(self, redis: Redis, stopping: threading.Event) -> None:
        with redis.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]  # redis-py has no types here
            subscription.subscribe(CHANNEL)
            self.listening = True
            self.wake_all()
            while not stopping.is_set():
                message = subscription.get_message(timeout=0.5)
                if message is not None:
                    self.wake(message["data"].decode())
