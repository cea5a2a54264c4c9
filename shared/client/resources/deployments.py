"""Deployments over REST: names under which model versions are in use."""

import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

from shared.client.errors import DeploymentFailed, ProblemError
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.deployments import (
    DeploymentIn,
    DeploymentOut,
    DeploymentRollout,
    ReplicaOut,
    ReplicaState,
    RevisionOut,
    RollbackIn,
)

POLL_S: Final = 0.25


class Deployments:
    """`/v1/deployments`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, limit: int | None = None) -> Iterator[DeploymentOut]:
        """All deployments, newest first."""
        return every(self._transport, "/v1/deployments", DeploymentOut, limit=limit)

    def get(self, name: str) -> DeploymentOut:
        """One deployment; ProblemError 404 if there is none."""
        return parsed(DeploymentOut, self._transport.call("GET", _path(name)))

    def find(self, name: str) -> DeploymentOut | None:
        """Like ``get``, but None if there is none."""
        try:
            return self.get(name)
        except ProblemError as exc:
            if exc.status == 404:
                return None
            raise

    def put(self, name: str, spec: DeploymentIn, *, wait_s: float | None = None) -> DeploymentOut:
        """Make the deployment what ``spec`` says: a ``CpuTarget`` or a ``FleetTarget``. With ``wait_s``: and wait until it is
        served, or its rollout finished, as ``wait_ready`` does.
        """
        made = parsed(DeploymentOut, self._transport.call("PUT", _path(name), body=spec))
        return made if wait_s is None else self.wait_ready(name, wait_s=wait_s)

    def rollback(self, name: str, generation: int | None = None, *, wait_s: float | None = None) -> DeploymentOut:
        """Go back to a generation, by default the one before, which becomes a new generation."""
        answer = self._transport.call("POST", f"{_path(name)}/rollback", body=RollbackIn(generation=generation))
        return parsed(DeploymentOut, answer) if wait_s is None else self.wait_ready(name, wait_s=wait_s)

    def revisions(self, name: str, *, limit: int | None = None) -> Iterator[RevisionOut]:
        """All generations, newest first."""
        return every(self._transport, f"{_path(name)}/revisions", RevisionOut, limit=limit)

    def delete(self, name: str) -> None:
        """Stop serving under this name. On a fleet its rollout is aborted, and cameras stay as they are."""
        self._transport.call("DELETE", _path(name))

    def wait_ready(
        self, name: str, *, wait_s: float = 120.0, on_poll: Callable[[DeploymentOut], None] | None = None
    ) -> DeploymentOut:
        """Wait until every living replica serves the newest generation or, on a fleet, until its rollout is finished.

        DeploymentFailed with the replica's words if one cannot, or after ``wait_s``: what was served before goes on. Likewise
        if the rollout cannot begin, or is aborted or rolled back.
        """
        return self._wait(name, lambda found: found.ready, wait_s, on_poll)

    def wait_begun(
        self, name: str, *, wait_s: float = 120.0, on_poll: Callable[[DeploymentOut], None] | None = None
    ) -> DeploymentOut:
        """Wait until the fleet service has the rollout of the newest generation; DeploymentFailed if it does not take it."""
        return self._wait(name, lambda found: found.rollout is not None and found.rollout.begun, wait_s, on_poll)

    def _wait(
        self,
        name: str,
        is_there: Callable[[DeploymentOut], bool],
        wait_s: float,
        on_poll: Callable[[DeploymentOut], None] | None,
    ) -> DeploymentOut:
        begun = time.monotonic()
        while True:
            found = self.get(name)
            if on_poll is not None:
                on_poll(found)
            if is_there(found):
                return found
            waited = time.monotonic() - begun
            if found.rollout is not None:
                _check_rollout(found, found.rollout, waited, wait_s)
            else:
                _check_replicas(found, waited, wait_s)
            time.sleep(POLL_S)


def _check_replicas(found: DeploymentOut, waited_s: float, wait_s: float) -> None:
    failed = next((each for each in found.replicas if each.state is ReplicaState.FAILED), None)
    if waited_s >= wait_s or failed is not None:
        raise _failure(found, failed, waited_s)


def _check_rollout(found: DeploymentOut, rollout: DeploymentRollout, waited_s: float, wait_s: float) -> None:
    if rollout.error is not None:
        hint = f"It is tried again. See `picofleet deployments show {found.name}`."
        raise DeploymentFailed(f"The rollout of {found.name} cannot begin: {rollout.error}", hint=hint)
    if rollout.has_ended_otherwise:
        hint = f"See `picofleet rollouts show {rollout.id}`."
        raise DeploymentFailed(f"The rollout of {found.name} is {rollout.state}: {rollout.reason}", hint=hint)
    if waited_s >= wait_s:
        there = str(rollout.state or "in an unknown state") if rollout.begun else "still being made"
        hint = f"It goes on by itself. See `picofleet deployments show {found.name}`."
        raise DeploymentFailed(f"The rollout of {found.name} is {there} after {waited_s:.0f} s.", hint=hint)


def _failure(found: DeploymentOut, failed: ReplicaOut | None, waited_s: float) -> DeploymentFailed:
    hint = f"See `picofleet deployments show {found.name}`; what was served before goes on."
    if failed is not None:
        said = failed.error or "no reason given"
        return DeploymentFailed(
            f"{failed.replica} cannot serve generation {found.generation} of {found.name}: {said}", hint=hint
        )
    there = "no replica of the inference service reports" if not found.replicas else "not all replicas serve it"
    return DeploymentFailed(f"{found.name} was not ready after {waited_s:.0f} s: {there}.", hint=hint)


def _path(name: str) -> str:
    return f"/v1/deployments/{quote(name, safe='')}"
