"""Watching something that the service changes by itself."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from shared.client.errors import NotReachable, ProblemError
from shared.client.transport import pause_s

T = TypeVar("T")


def until_final(
    get: Callable[[], T], is_final: Callable[[T], bool], *, poll_s: float = 1.0, give_up_after_s: float = 120.0
) -> Iterator[T]:
    """What ``get`` tells, each time that it has changed, up to and with the last.

    NotReachable once the service has been away for ``give_up_after_s``; a refusal is raised at once.
    """
    last: T | None = None
    attempt, away_since = 0, None
    while True:
        try:
            found = get()
        except (NotReachable, ProblemError) as exc:
            if isinstance(exc, ProblemError) and exc.status < 500:
                raise
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > give_up_after_s:
                raise
            time.sleep(pause_s(attempt))
            attempt += 1
            continue
        attempt, away_since = 0, None
        if found != last:
            yield found
        if is_final(found):
            return
        last = found
        time.sleep(poll_s)
