"""Cameras, their groups and what lets them in, over REST."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from shared.client.errors import ProblemError
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.cameras import (
    CameraChange,
    CameraCreated,
    CameraIn,
    CameraOut,
    GroupIn,
    GroupOut,
    HealthState,
    ProvisioningTokenCreated,
    ProvisioningTokenIn,
    ProvisioningTokenOut,
    ReplaceIn,
)
from shared.contracts.rollouts import ActionOut

_ROOT = "/v1/fleet/cameras"


class Cameras:
    """`/v1/fleet/cameras`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register(self, camera: CameraIn) -> CameraCreated:
        """Make a camera known. The answer is the only one that shows its token."""
        return parsed(CameraCreated, self._transport.call("POST", _ROOT, body=camera))

    def list(
        self,
        *,
        selector: str | None = None,
        group: str | None = None,
        controller_id: str | None = None,
        prefix: str | None = None,
        package: str | None = None,
        health: HealthState | None = None,
        unseen_s: float | None = None,
        limit: int | None = None,
    ) -> Iterator[CameraOut]:
        """Cameras, newest first; only those that have all of what is given.

        ``prefix``: of the controller id. ``package``: that they run, as picosam2/3. ``unseen_s``: not heard of for so long.
        """
        filters: dict[str, Any] = {
            "selector": selector,
            "group": group,
            "controller_id": controller_id,
            "q": prefix,
            "package": package,
        }
        filters |= {"health": health.value if health else None, "unseen_s": unseen_s}
        return every(self._transport, _ROOT, CameraOut, filters, limit=limit)

    def get(self, camera_id: str) -> CameraOut:
        """One camera; ProblemError 404 if there is none."""
        return parsed(CameraOut, self._transport.call("GET", _camera(camera_id)))

    def find(self, controller_id: str) -> CameraOut | None:
        """The camera that calls itself so; None if there is none."""
        return next(self.list(controller_id=controller_id, limit=1), None)

    def named(self, name: str) -> CameraOut:
        """A camera by its id or its controller id; ProblemError 404 if there is none."""
        found = self.find(name)
        return self.get(name) if found is None else found

    def change(self, camera_id: str, change: CameraChange) -> CameraOut:
        """Other labels, or another format."""
        return parsed(CameraOut, self._transport.call("PATCH", _camera(camera_id), body=change))

    def delete(self, camera_id: str) -> None:
        """Forget a camera. Its token counts no more."""
        self._transport.call("DELETE", _camera(camera_id))

    def new_token(self, camera_id: str) -> CameraCreated:
        """Exchange its token: the one before counts no more. The answer is the only one that shows it."""
        return parsed(CameraCreated, self._transport.call("POST", f"{_camera(camera_id)}/token"))

    def replace(self, camera_id: str, successor: str) -> CameraOut:
        """Let the camera with id ``successor`` take its place; the successor as it is now."""
        answer = self._transport.call("POST", f"{_camera(camera_id)}/replace", body=ReplaceIn(successor=successor))
        return parsed(CameraOut, answer)

    def refresh_attributes(self, camera_id: str) -> CameraOut:
        """Have the device tell its attributes anew when it polls next."""
        return parsed(CameraOut, self._transport.call("POST", f"{_camera(camera_id)}/attributes/refresh"))

    def actions(self, camera_id: str, *, limit: int | None = None) -> Iterator[ActionOut]:
        """Its parts in rollouts, newest first."""
        return every(self._transport, f"{_camera(camera_id)}/actions", ActionOut, limit=limit)


class Groups:
    """`/v1/fleet/groups`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, name: str, group: GroupIn) -> GroupOut:
        """Make the group what ``group`` says."""
        return parsed(GroupOut, self._transport.call("PUT", _group(name), body=group))

    def list(self, *, limit: int | None = None) -> Iterator[GroupOut]:
        """All groups."""
        return every(self._transport, "/v1/fleet/groups", GroupOut, limit=limit)

    def get(self, name: str) -> GroupOut:
        """One group; ProblemError 404 if there is none."""
        return parsed(GroupOut, self._transport.call("GET", _group(name)))

    def find(self, name: str) -> GroupOut | None:
        """Like ``get``, but None if there is none."""
        try:
            return self.get(name)
        except ProblemError as exc:
            if exc.status == 404:
                return None
            raise

    def delete(self, name: str) -> None:
        """Remove a group. Its cameras stay."""
        self._transport.call("DELETE", _group(name))

    def cameras(self, name: str, *, limit: int | None = None) -> Iterator[CameraOut]:
        """The cameras that are in it now."""
        return every(self._transport, f"{_group(name)}/cameras", CameraOut, limit=limit)


class ProvisioningTokens:
    """`/v1/fleet/provisioning-tokens`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, token: ProvisioningTokenIn) -> ProvisioningTokenCreated:
        """A token with which devices register themselves. The answer is the only one that shows it."""
        return parsed(ProvisioningTokenCreated, self._transport.call("POST", "/v1/fleet/provisioning-tokens", body=token))

    def list(self, *, limit: int | None = None) -> Iterator[ProvisioningTokenOut]:
        """All tokens without their secrets, revoked ones as well."""
        return every(self._transport, "/v1/fleet/provisioning-tokens", ProvisioningTokenOut, limit=limit)

    def revoke(self, token_id: str) -> None:
        """Let nobody in with it any more; cameras that came with it and have no token of their own are shut out."""
        self._transport.call("DELETE", f"/v1/fleet/provisioning-tokens/{quote(token_id, safe='')}")


def _camera(camera_id: str) -> str:
    return f"{_ROOT}/{quote(camera_id, safe='')}"


def _group(name: str) -> str:
    return f"/v1/fleet/groups/{quote(name, safe='')}"
