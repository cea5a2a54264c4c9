"""Rollouts and actions over REST."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from urllib.parse import quote

from shared.client.errors import RolloutNotOver
from shared.client.resources.pages import every
from shared.client.resources.polling import until_final
from shared.client.transport import Transport, parsed
from shared.contracts.base import is_id
from shared.contracts.rollouts import (
    ActionOut,
    ActionState,
    CloneIn,
    PreviewOut,
    ReasonIn,
    RolloutIn,
    RolloutOut,
    RolloutState,
)

_ROOT: Final = "/v1/fleet/rollouts"
POLL_S: Final = 1.0


class Rollouts:
    """`/v1/fleet/rollouts`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, rollout: RolloutIn, *, idempotency_key: str | None = None) -> RolloutOut:
        """Make a rollout, and start it if it says so. The same key makes it once, however often it is sent."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return parsed(RolloutOut, self._transport.call("POST", _ROOT, body=rollout, headers=headers))

    def list(
        self, *, states: Sequence[RolloutState] = (), package: str | None = None, limit: int | None = None
    ) -> Iterator[RolloutOut]:
        """Rollouts, newest first."""
        wanted = {"state": [state.value for state in states] or None, "package": package}
        return every(self._transport, _ROOT, RolloutOut, wanted, limit=limit)

    def get(self, rollout_id: str) -> RolloutOut:
        """One rollout as it stands; ProblemError 404 if there is none."""
        return parsed(RolloutOut, self._transport.call("GET", _path(rollout_id)))

    def named(self, name: str) -> RolloutOut:
        """A rollout by its id, or the newest of that name; ProblemError 404 if there is none."""
        if not is_id(name):
            found = next((each for each in self.list() if each.name == name), None)
            if found is not None:
                return found
        return self.get(name)

    def preview(self, rollout_id: str) -> PreviewOut:
        """Which cameras it would touch if it started now."""
        return parsed(PreviewOut, self._transport.call("GET", f"{_path(rollout_id)}/preview"))

    def start(self, rollout_id: str) -> RolloutOut:
        """Start a draft; one that wants approval waits for it."""
        return parsed(RolloutOut, self._transport.call("POST", f"{_path(rollout_id)}/start"))

    def pause(self, rollout_id: str, reason: str = "") -> RolloutOut:
        """Let no further camera in; those that are at it go on."""
        return self._do(rollout_id, "pause", reason)

    def resume(self, rollout_id: str, reason: str = "") -> RolloutOut:
        """Go on with one that is paused."""
        return self._do(rollout_id, "resume", reason)

    def abort(self, rollout_id: str, reason: str = "") -> RolloutOut:
        """Stop for good. Cameras that have the package keep it."""
        return self._do(rollout_id, "abort", reason)

    def approve(self, rollout_id: str, reason: str = "") -> RolloutOut:
        """Approve the rollout, or the phase that waits for it."""
        return self._do(rollout_id, "approve", reason)

    def retry(self, rollout_id: str, reason: str = "") -> RolloutOut:
        """Let those cameras try again that have failed."""
        return self._do(rollout_id, "retry", reason)

    def rollback(self, rollout_id: str, reason: str = "") -> RolloutOut:
        """Return every touched camera to its last good package."""
        return self._do(rollout_id, "rollback", reason)

    def clone(self, rollout_id: str, clone: CloneIn) -> RolloutOut:
        """A draft as this one was, maybe of another package."""
        return parsed(RolloutOut, self._transport.call("POST", f"{_path(rollout_id)}/clone", body=clone))

    def delete(self, rollout_id: str) -> None:
        """Remove a draft."""
        self._transport.call("DELETE", _path(rollout_id))

    def actions(
        self, rollout_id: str, *, states: Sequence[ActionState] = (), phase: int | None = None, limit: int | None = None
    ) -> Iterator[ActionOut]:
        """Each camera's part in it. ``phase`` counts from 1."""
        wanted = {"state": [state.value for state in states] or None, "phase": phase}
        return every(self._transport, f"{_path(rollout_id)}/actions", ActionOut, wanted, limit=limit)

    def follow(self, rollout_id: str, *, poll_s: float = POLL_S, give_up_after_s: float = 120.0) -> Iterator[RolloutOut]:
        """The rollout each time that it has changed, up to and with its end.

        NotReachable once the service has been away for ``give_up_after_s``.
        """
        return until_final(
            lambda: self.get(rollout_id),
            lambda found: found.state.is_final,
            poll_s=poll_s,
            give_up_after_s=give_up_after_s,
        )

    def wait(
        self,
        rollout_id: str,
        *,
        wait_s: float | None = None,
        poll_s: float = POLL_S,
        on_poll: Callable[[RolloutOut], None] | None = None,
    ) -> RolloutOut:
        """Wait until it is finished, aborted or rolled back; RolloutNotOver after ``wait_s``."""
        begun = time.monotonic()
        while True:
            found = self.get(rollout_id)
            if on_poll is not None:
                on_poll(found)
            if found.state.is_final:
                return found
            waited = time.monotonic() - begun
            if wait_s is not None and waited >= wait_s:
                hint = f"It goes on by itself. See `picofleet rollouts show {found.id}`."
                raise RolloutNotOver(f"Rollout {found.name} is {found.state} after {waited:.0f} s.", hint=hint)
            time.sleep(poll_s)

    def _do(self, rollout_id: str, verb: str, reason: str) -> RolloutOut:
        return parsed(RolloutOut, self._transport.call("POST", f"{_path(rollout_id)}/{verb}", body=ReasonIn(reason=reason)))


class Actions:
    """`/v1/fleet/actions`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, action_id: int) -> ActionOut:
        """One camera's part in one rollout, with its history."""
        return parsed(ActionOut, self._transport.call("GET", f"/v1/fleet/actions/{action_id}"))


def _path(rollout_id: str) -> str:
    return f"{_ROOT}/{quote(rollout_id, safe='')}"
