"""Cameras over HTTP, as an operator has them."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.fleet.actions.models import Action
from services.fleet.events.models import Event
from services.fleet.packages.models import Package
from services.fleet.polling.epochs import bucket_of
from services.fleet.polling.models import Epoch
from services.fleet.rollouts.models import Rollout
from services.fleet.runtime import Services
from shared.contracts.base import new_id
from shared.contracts.rollouts import ActionKind, ActionState, RolloutState

Json = dict[str, Any]


@dataclass(frozen=True)
class Fleet:
    """Speaks to the service, and looks into its database."""

    services: Services
    http: httpx.Client
    user: dict[str, str]

    def register(self, controller_id: str, **fields: Any) -> Json:
        answer = self.post("cameras", {"controller_id": controller_id} | fields)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.http.post(f"/v1/fleet/{path}", json=body, headers=self.user | headers)

    def put(self, path: str, body: Any) -> httpx.Response:
        return self.http.put(f"/v1/fleet/{path}", json=body, headers=self.user)

    def patch(self, path: str, body: Any) -> httpx.Response:
        return self.http.patch(f"/v1/fleet/{path}", json=body, headers=self.user)

    def delete(self, path: str, **params: Any) -> httpx.Response:
        return self.http.delete(f"/v1/fleet/{path}", headers=self.user, params=params)

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(f"/v1/fleet/{path}", headers=self.user, params=params)

    def found(self, path: str = "cameras", **params: Any) -> list[str]:
        """Controller ids of a list."""
        answer = self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return [item["controller_id"] for item in answer.json()["items"]]

    def epoch(self, camera: Json) -> int:
        """Counts changes of what the camera is answered."""
        with self.services.sessions() as session:
            return session.get_one(Epoch, bucket_of(camera["id"])).epoch

    def events(self) -> list[Event]:
        with self.services.sessions() as session:
            return list(session.scalars(select(Event).order_by(Event.seq)))

    def package(self, version: str = "1") -> str:
        """Id of a package without files."""
        with self.services.sessions.begin() as session:
            session.add(package := Package(kind="model", name="picosam2", version=version, imported_by="a-test"))
            session.flush()
            return package.id

    def rollout(self, state: RolloutState = RolloutState.RUNNING) -> str:
        """Id of a rollout of a new package to nobody in particular."""
        package = self.package(new_id())
        with self.services.sessions.begin() as session:
            made = Rollout(
                name="a-rollout", package_id=package, spec={}, state=state, priority=50, budget={}, created_by="a-test"
            )
            session.add(made)
            session.flush()
            return made.id

    def action(self, camera: Json, rollout: str | None = None, **columns: Any) -> int:
        """Id of an action of the camera; pending unless told otherwise."""
        values = {"kind": ActionKind.INSTALL, "state": ActionState.PENDING, "phase": 2, "rank": 7} | columns
        with self.services.sessions.begin() as session:
            session.add(made := Action(camera_id=camera["id"], rollout_id=rollout, **values))
            session.flush()
            return made.id

    def actions(self, camera: Json) -> list[Action]:
        with self.services.sessions() as session:
            return list(session.scalars(select(Action).where(Action.camera_id == camera["id"]).order_by(Action.id)))


@pytest.fixture
def fleet(services: Services, client: httpx.Client, operator: dict[str, str]) -> Fleet:
    return Fleet(services, client, operator)


@pytest.fixture
def as_admin(services: Services, client: httpx.Client, admin: dict[str, str]) -> Fleet:
    return Fleet(services, client, admin)
