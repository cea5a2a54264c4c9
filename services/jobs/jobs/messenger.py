"""Carries messages to Redis after a commit, on a thread of its own: no request waits for Redis or fails without it."""

import threading
from collections.abc import Callable
from typing import Final

import structlog
from celery import Celery
from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from services.jobs.jobs.signals import Signals
from shared.kit.celery_app import send_job

log = structlog.get_logger(__name__)

CHANNEL: Final = "picofleet:jobs"
"""Redis channel on which the ids of changed jobs are published, to wake readers in every replica."""
LOOP: Final = "jobs.messages"
PROBE_S: Final = 5.0


class Messenger:
    """Sends the signals of committed transactions. What cannot be sent is dropped: readers poll, the sweeper sends again."""

    def __init__(self, celery: Celery, redis: Redis, wake: Callable[[str], None]) -> None:
        self._celery, self._redis, self._wake = celery, redis, wake
        self._lock = threading.Lock()
        self._waiting = Signals()
        self.broker_away = False
        """True from a failed attempt until the next one that succeeds."""

    def take(self, signals: Signals) -> None:
        """Take over ``signals``; returns at once. They go out in the next :meth:`flush`."""
        with self._lock:
            self._waiting.dispatched |= signals.dispatched
            self._waiting.changed |= signals.changed
        for loop in (LOOP, *signals.loops):
            self._wake(loop)

    def flush(self) -> None:
        """Send all that waits; with nothing to send, see whether the broker is there. May take some seconds when it is not."""
        with self._lock:
            taken, self._waiting = self._waiting, Signals()
        try:
            self._send(taken)
        except (KombuError, RedisError, OSError) as exc:
            self._note(away=True, error=str(exc), dropped=len(taken.dispatched))
        else:
            self._note(away=False)

    def _send(self, signals: Signals) -> None:
        # A connection that died while idle fails on its first use, so the first answer decides.
        self._redis.ping()
        for job_id, kind in signals.dispatched.items():
            send_job(self._celery, kind=kind, job_id=job_id)
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in signals.changed:
                pipe.publish(CHANNEL, job_id)
            pipe.execute()

    def _note(self, *, away: bool, **why: object) -> None:
        if away != self.broker_away:
            log.warning("jobs.broker", away=away, **why)
        self.broker_away = away
