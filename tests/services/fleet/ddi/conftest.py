"""A device that speaks DDI, and the rows that it needs to have something to do."""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from PIL import Image
from sqlalchemy import select

from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import release, request_cancel
from services.fleet.cameras.models import Camera, Group
from services.fleet.cameras.registering import register
from services.fleet.packages.models import Package, PackageFile
from services.fleet.runtime import Services
from shared.contracts.cameras import CameraFormat
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.auth import hash_secret

TOKEN = "a-token-of-this-camera"


@dataclass
class Device:
    """A camera's side of the API. ``path`` is its id as it stands in URLs."""

    http: httpx.Client
    path: str
    camera_id: str
    authorization: str = f"TargetToken {TOKEN}"

    @property
    def root(self) -> str:
        return f"/default/controller/v1/{self.path}"

    def ask(self, method: str, path: str = "", **kwargs: Any) -> httpx.Response:
        headers = {"Authorization": self.authorization} | kwargs.pop("headers", {})
        return self.http.request(method, self.root + path, headers=headers, **kwargs)

    def poll(self, **headers: str) -> httpx.Response:
        return self.ask("GET", headers=headers)

    def links(self) -> dict[str, Any]:
        answer = self.poll()
        assert answer.status_code == 200, answer.text
        links: dict[str, Any] = answer.json()["_links"]
        return {name: link["href"] for name, link in links.items()}

    def report(
        self, action: int | str, execution: Any, finished: Any = "none", *, base: str = "deploymentBase", **more: Any
    ) -> httpx.Response:
        status = {"execution": execution, "result": {"finished": finished}} | more
        return self.ask("POST", f"/{base}/{action}/feedback", json={"id": str(action), "status": status})


class World:
    """Writes rows as the engine and the operators do."""

    def __init__(self, services: Services, http: httpx.Client) -> None:
        self._services, self._http = services, http

    def device(self, controller_id: str = "cam-1", path: str | None = None, **overrides: Any) -> Device:
        columns: dict[str, Any] = {"labels": {}, "format": CameraFormat.PACKAGE, "token_hash": hash_secret(TOKEN)}
        with self._services.sessions.begin() as session:
            camera = register(session, controller_id, **(columns | {"provisioned_by": None, "by": "tests"} | overrides))
            camera.attributes_wanted = False
        return Device(self._http, path or controller_id, camera.id)

    def package(self, version: str = "1", *, name: str = "line", content: bytes = b"bytes", **overrides: Any) -> str:
        stored = self._services.blobs.put_bytes(content)
        with self._services.sessions.begin() as session:
            package = Package(kind="model", name=name, version=version, imported_by="tests", release=int(version), **overrides)
            session.add(package)
            session.flush()
            for format_, suffix in (("package", "tar"), ("swu", "swu")):
                session.add(
                    PackageFile(
                        package_id=package.id,
                        part="network",
                        filename=f"{name}-{version}.{suffix}",
                        format=format_,
                        size_bytes=len(content),
                        sha256=stored.digest.removeprefix("sha256:"),
                        sha1=hashlib.sha1(content).hexdigest(),
                        md5=hashlib.md5(content).hexdigest(),
                    )
                )
        return package.id

    def action(self, device: Device, package_id: str | None, *, released: bool = True, **overrides: Any) -> int:
        columns: dict[str, Any] = {"kind": ActionKind.INSTALL, "state": ActionState.PENDING}
        with self._services.sessions.begin() as session:
            action = Action(camera_id=device.camera_id, package_id=package_id, **(columns | overrides))
            session.add(action)
            session.flush()
            if released:
                assert release(session, [action.id], deadline_at=None) == [action.id]
        return action.id

    def cancel(self, action_id: int) -> None:
        with self._services.sessions.begin() as session:
            request_cancel(session, [action_id])

    def group(self, name: str, selector: str, maintenance: list[dict[str, Any]], zone: str = "UTC") -> None:
        with self._services.sessions.begin() as session:
            session.add(Group(name=name, selector=selector, description="", time_zone=zone, maintenance=maintenance))

    def state(self, action_id: int) -> str:
        with self._services.sessions() as session:
            return session.get_one(Action, action_id).state

    def camera(self, device: Device) -> Camera:
        with self._services.sessions() as session:
            return session.get_one(Camera, device.camera_id)

    def history(self, action_id: int) -> list[ActionHistory]:
        with self._services.sessions() as session:
            query = select(ActionHistory).where(ActionHistory.action_id == action_id).order_by(ActionHistory.id)
            return list(session.scalars(query))

    def add(self, row: Any) -> Any:
        with self._services.sessions.begin() as session:
            session.add(row)
        return row


@pytest.fixture
def world(services: Services, client: httpx.Client) -> World:
    return World(services, client)


@pytest.fixture
def device(world: World) -> Device:
    return world.device()


@pytest.fixture
def png() -> Callable[..., bytes]:
    def make(mode: str = "RGB", size: tuple[int, int] = (96, 96)) -> bytes:
        buffer = io.BytesIO()
        Image.new(mode, size).save(buffer, "PNG")
        return buffer.getvalue()

    return make
