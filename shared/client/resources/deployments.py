"""Deployments over REST: names under which model versions are in use."""

import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import quote

from shared.client.errors import DeploymentFailed, ProblemError
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.deployments import DeploymentIn, DeploymentOut, ReplicaOut, ReplicaState, RevisionOut, RollbackIn

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
        """Make the deployment what ``spec`` says. With ``wait_s``: and wait until it is served, as ``wait_ready`` does."""
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
        """Stop serving under this name."""
        self._transport.call("DELETE", _path(name))

    def wait_ready(
        self, name: str, *, wait_s: float = 120.0, on_poll: Callable[[DeploymentOut], None] | None = None
    ) -> DeploymentOut:
        """Wait until every living replica serves the newest generation.

        DeploymentFailed with the replica's words if one cannot, or after ``wait_s``: what was served before goes on.
        """
        begun = time.monotonic()
        while True:
            found = self.get(name)
            if on_poll is not None:
                on_poll(found)
            if found.ready:
                return found
            waited = time.monotonic() - begun
            failed = next((each for each in found.replicas if each.state is ReplicaState.FAILED), None)
            if waited >= wait_s or failed is not None:
                raise _failure(found, failed, waited)
            time.sleep(POLL_S)


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
