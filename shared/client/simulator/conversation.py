"""One camera's side of the device API: asks, says, and says again what nobody heard."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from shared.client.simulator import messages
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.shelf import Shelf
from shared.client.simulator.wire import Reply, Sink, Wire, WireError
from shared.contracts.cameras import TENANT
from shared.contracts.ddi import Execution, Finished

ATTEMPTS: Final = 8
"""So often it says a thing that nobody hears."""
LONGEST_PAUSE_S: Final = 60.0

M = TypeVar("M", bound=BaseModel)


@dataclass(slots=True)
class Shared:
    """What all cameras of a simulation have in common."""

    wire: Wire
    shelf: Shelf
    behaviour: Behaviour
    chance: Random
    counts: Counter[str] = field(default_factory=Counter)
    """Requests by kind; ``server_errors`` for answers of 5xx, ``unreachable`` for none, ``refused`` for 4xx to the honest."""
    said: dict[int, str] = field(default_factory=dict)
    """The last words of each such status."""


class Over(Exception):
    """The action is no more the camera's: cancelled, or the service knows better."""


class Conversation:
    """``authorization``: the header's value."""

    __slots__ = ("_authorization", "_misbehaves", "_root", "_shared")

    def __init__(self, controller_id: str, authorization: str, shared: Shared) -> None:
        self._shared = shared
        self._root = f"/{TENANT}/controller/v1/{quote(controller_id, safe='')}"
        self._misbehaves = shared.behaviour.misbehaves(controller_id)
        self.use(authorization)

    def use(self, authorization: str) -> None:
        """Show this from now on."""
        self._authorization = f"Authorization: {authorization}\r\n".encode("latin-1")

    async def ask(
        self,
        kind: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: bytes = b"",
        sink: Sink | None = None,
    ) -> Reply:
        """One exchange, counted under ``kind``. ``path`` without a slash is one of the device's own. WireError."""
        shared = self._shared
        shared.counts[kind] += 1
        place = path if path.startswith(("/", "http")) else self._root + (f"/{path}" if path else "")
        answer = await shared.wire.request(method, place, self._authorization + headers, body, sink=sink)
        if answer.status >= 500:
            shared.counts["server_errors"] += 1
            shared.said[answer.status] = messages.words_of(answer.body)
        return answer

    async def say(
        self,
        action: str,
        execution: Execution,
        finished: Finished = Finished.NONE,
        *,
        state: str | None = None,
        details: list[str] | None = None,
    ) -> None:
        """Feedback, until somebody hears it. Over if the action is no longer this camera's; WireError if nobody ever does."""
        body = messages.feedback(action, execution, finished, state=state, details=details)
        is_end = finished is not Finished.NONE
        if self._misbehaves and not is_end:
            await self._mislead(action, body)
        answer = await self._heard(f"deploymentBase/{quote(action, safe='')}/feedback", body)
        if not answer.is_success:
            self.refused(answer)
            if not is_end:
                raise Over
        if self._misbehaves and is_end:
            await self._mislead(action, body)

    async def stopped(self, action: str) -> None:
        """Feedback of an action that was to stop, and has."""
        body = messages.feedback(action, Execution.CANCELED, Finished.SUCCESS)
        await self._heard(f"cancelAction/{quote(action, safe='')}/feedback", body)

    def refused(self, answer: Reply) -> None:
        """Remember what the service said."""
        self._shared.counts["refused"] += 1
        self._shared.said[answer.status] = messages.words_of(answer.body)

    async def _heard(self, place: str, body: bytes) -> Reply:
        chance = self._shared.chance
        for attempt in range(ATTEMPTS):
            try:
                answer = await self.ask("feedback", "POST", place, body)
            except WireError:
                self._shared.counts["unreachable"] += 1
            else:
                if answer.status < 500 and answer.status != 429:
                    return answer
            await asyncio.sleep(min(LONGEST_PAUSE_S, 0.5 * 2.0**attempt) * (0.5 + chance.random()))
        raise WireError("nobody hears the feedback")

    async def _mislead(self, action: str, honest: bytes) -> None:
        """Say what no honest camera says now. Whatever the answer, it must change nothing."""
        number = self._shared.chance.randrange(len(messages.MISCHIEF))
        about, body = messages.MISCHIEF[number](action, honest)
        self._shared.counts["mischief"] += 1
        answer = await self.ask("feedback", "POST", f"deploymentBase/{quote(about, safe='')}/feedback", body)
        if answer.status >= 500:
            self._shared.said[answer.status] = f"to mischief {number}: {messages.words_of(answer.body)}"


def read(kind: type[M], answer: Reply) -> M:
    """The body as a message; WireError if it is none."""
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError as exc:
        raise WireError(f"the service sent no {kind.__name__}") from exc
