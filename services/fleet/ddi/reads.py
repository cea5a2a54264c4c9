"""Reading for many polls at once what their answers depend on.

Beside a statement's thread, connection and round trips its rows cost next to nothing. So one statement at a time is under way,
and polls that come meanwhile wait for the next one together: the busier the service, the more of them share one. A poll never
joins a statement that was sent before it came, so it sees all that was committed by then.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Engine, Row
from starlette.concurrency import run_in_threadpool

from services.fleet.ddi import repository
from services.fleet.polling.memory import PollMemory

MOST: Final = 64
"""Cameras of one statement."""


class Found(NamedTuple):
    """``row``: None if nobody knows the device. ``generations``: as they were before it was read."""

    row: Row[Any] | None
    generations: Sequence[int]


class PollReads:
    """Used by one event loop."""

    def __init__(self, engine: Engine, polls: PollMemory) -> None:
        self._engine, self._polls = engine, polls
        self._waiting: dict[str, asyncio.Future[Found]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read(self, controller_id: str) -> Found:
        """What is committed now. Raises what the database raises."""
        waiting = self._waiting.get(controller_id)
        if waiting is None:
            waiting = self._waiting[controller_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all())
        # Shielded, since another poll of the same device may wait for it as well.
        return await asyncio.shield(waiting)

    async def _read_all(self) -> None:
        while self._waiting:
            asked = list(self._waiting)[:MOST]
            answers = {controller_id: self._waiting.pop(controller_id) for controller_id in asked}
            generations = self._polls.generations()
            try:
                rows = await run_in_threadpool(self._rows, asked)
            except Exception as exc:  # whatever it is, it is for those who wait
                for answer in answers.values():
                    answer.set_exception(exc)
            else:
                for controller_id, answer in answers.items():
                    answer.set_result(Found(rows.get(controller_id), generations))
        self._reading = None

    def _rows(self, controller_ids: Sequence[str]) -> Mapping[str, Row[Any]]:
        return repository.poll_rows(self._engine, controller_ids)
