"""Parallel work with its results in order and a bounded number of them in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

from shared.picosam.data.errors import Stopped

Item = TypeVar("Item")
Result = TypeVar("Result")


class Report(Protocol):
    """Called with the units done so far and all there are."""

    def __call__(self, done: int, total: int) -> None:
        """Take note; raising ends the work."""


def ignore(done: int, total: int) -> None:
    """A report to nobody."""


def never() -> bool:
    """A stop that is never requested."""
    return False


def cores() -> int:
    """Cores that this process may use; a container's share, where the kernel says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    executor: Executor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    stop: Callable[[], bool] = never,
) -> Iterator[Result]:
    """``map`` in ``executor`` with at most ``ahead`` items under way, so that neither items nor results pile up.

    Raises ``Stopped`` between two results once ``stop()`` is true; what is under way then is cancelled or thrown away.
    """
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            if len(waiting) >= ahead:
                yield _next(waiting, stop)
            waiting.append(executor.submit(function, item))
        while waiting:
            yield _next(waiting, stop)
    finally:
        for future in waiting:
            future.cancel()


def _next(waiting: "deque[Future[Result]]", stop: Callable[[], bool]) -> Result:
    if stop():
        raise Stopped
    return waiting.popleft().result()
