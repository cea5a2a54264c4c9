"""What happened in the fleet: over REST, and over SSE as it happens."""

import time
from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError

from shared.client.errors import NotReachable, ProblemError, UnexpectedAnswer
from shared.client.resources.pages import every
from shared.client.sse import server_events
from shared.client.transport import Transport, pause_s
from shared.contracts.rollouts import FleetEvent

_ROOT: Final = "/v1/fleet/events"


class FleetEvents:
    """`/v1/fleet/events`; those with an actor are the audit log."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, rollout: str | None = None, camera: str | None = None, limit: int | None = None) -> Iterator[FleetEvent]:
        """What happened, newest first; of a rollout or a camera, by id."""
        return every(self._transport, _ROOT, FleetEvent, {"rollout": rollout, "camera": camera}, limit=limit)

    def stream(
        self,
        *,
        after: int | None = None,
        rollout: str | None = None,
        camera: str | None = None,
        give_up_after_s: float = 120.0,
    ) -> Iterator[FleetEvent]:
        """Events with ``seq`` above ``after`` as they happen, without an end; None: from now on.

        A stream that breaks off is taken up after the last event seen. NotReachable once the service has been away for
        ``give_up_after_s``.
        """
        seen, attempt, away_since = after, 0, None
        while True:
            try:
                for event in self._stream(seen, {"rollout": rollout, "camera": camera}):
                    attempt, away_since = 0, None
                    if seen is None or event.seq > seen:
                        seen = event.seq
                        yield event
            except (NotReachable, ProblemError) as exc:
                if isinstance(exc, ProblemError) and exc.status < 500:
                    raise
                away_since = away_since or time.monotonic()
                if time.monotonic() - away_since > give_up_after_s:
                    raise
                attempt += 1
            time.sleep(pause_s(attempt))

    def _stream(self, after: int | None, filters: dict[str, str | None]) -> Iterator[FleetEvent]:
        headers = {"Accept": "text/event-stream"}
        if after is not None:
            headers["Last-Event-ID"] = str(after)
        params = {key: value for key, value in filters.items() if value is not None}
        with self._transport.stream("GET", f"{_ROOT}/stream", params=params, headers=headers) as answer:
            for event in server_events(answer.iter_lines()):
                yield _event(event.data)


def _event(text: str) -> FleetEvent:
    try:
        return FleetEvent.model_validate_json(text)
    except ValidationError as exc:
        raise UnexpectedAnswer(
            "The stream of events sent something else.", hint="Client and service are of different versions."
        ) from exc
