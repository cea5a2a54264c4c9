"""Simulated cameras against the real fleet service, with packages that a key of ours has signed."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.fleet.actions.models import Action
from services.fleet.actions.moves import release
from services.fleet.cameras.models import ProvisioningToken
from services.fleet.packages.models import Statement
from services.fleet.runtime import Services
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.simulation import Simulation, named
from shared.contracts.packages import ReleaseStatement, TrustedKeys
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.auth import hash_secret
from shared.kit.packages.folder import write_package
from shared.kit.packages.keys import generate
from shared.kit.packages.signing import sign_package, sign_statement
from shared.kit.packages.tars import pack
from tests.services.fleet import conftest as fleet_service
from tests.services.fleet.ddi.conftest import Device, World
from tests.shared.kit.packages.making import some_contents, some_facts

app, client, database_url, jobs, key_for = (
    fleet_service.app,
    fleet_service.client,
    fleet_service.database_url,
    fleet_service.jobs,
    fleet_service.key_for,
)
migrated_fleet, migrated_jobs, operator = fleet_service.migrated_fleet, fleet_service.migrated_jobs, fleet_service.operator
served, services, settings = fleet_service.served, fleet_service.services, fleet_service.settings

PROVISIONING = "the-secret-of-a-provisioning-token"


@dataclass(frozen=True)
class Maker:
    """Signs packages and statements."""

    folder: Path
    key: Path
    trusted: TrustedKeys

    def package(self, release_number: int, *, key: Path | None = None) -> bytes:
        """The tar of a release of the line picosam2."""
        place = self.folder / f"{release_number}-{time.monotonic_ns()}"
        write_package(place, some_facts(release=release_number), some_contents())
        sign_package(place, key or self.key)
        pack(place, place.with_suffix(".tar"))
        return place.with_suffix(".tar").read_bytes()

    def statement(self, from_release: int, to_release: int) -> dict[str, Any]:
        """As the jobs service signs a return."""
        fields = {"line": "picosam2", "from_release": from_release, "to_release": to_release, "reason": "tests"}
        said = ReleaseStatement.model_validate(fields | {"issued_at": datetime.now(UTC)})
        signed = sign_statement(said, self.key)
        return {"statement": signed.content.decode(), "signature": signed.signature.decode()}


@pytest.fixture(scope="session")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    folder = tmp_path_factory.mktemp("signed")
    return Maker(folder, folder / "key.pem", TrustedKeys(keys=[generate(folder / "key.pem")]))


@pytest.fixture(scope="session")
def tars(maker: Maker) -> dict[int, bytes]:
    return {number: maker.package(number) for number in (1, 2, 3)}


class Fleet(World):
    """The world of the device API's tests, with signed packages and cameras that let themselves in."""

    def __init__(self, services: Services, http: httpx.Client, maker: Maker, tars: dict[int, bytes]) -> None:
        super().__init__(services, http)
        self.services, self.maker, self.tars = services, maker, tars
        self.refs: dict[int, str] = {}
        self.add(
            ProvisioningToken(
                name="tests",
                token_hash=hash_secret(PROVISIONING),
                labels={},
                format="package",
                max_cameras=999,
                created_by="tests",
            )
        )

    def signed(self, number: int) -> str:
        """Id of release ``number``, which can be rolled out."""
        if number not in self.refs:
            self.refs[number] = self.package(str(number), name="picosam2", content=self.tars[number])
        return self.refs[number]

    def tell(self, simulation: Simulation, package_id: str | None, kind: ActionKind = ActionKind.INSTALL) -> list[int]:
        """An action for each of its cameras."""
        return [self._act(camera.controller_id, package_id, kind) for camera in simulation.cameras]

    def allow_return(self, from_release: int, to_release: int) -> None:
        envelope = self.maker.statement(from_release, to_release)
        self.add(Statement(line="picosam2", from_release=from_release, to_release=to_release, envelope=envelope))

    def steps(self, action_id: int) -> list[ActionState]:
        """Its states, each once, in order."""
        return list(dict.fromkeys(ActionState(line.state) for line in self.history(action_id)))

    def runs(self, controller_id: str) -> str | None:
        """Id of the package that the service takes the camera to run."""
        return self.camera(self.known(controller_id)).current_package_id

    def known(self, controller_id: str) -> Device:
        from services.fleet.ddi.repository import camera_by_controller

        with self.services.sessions() as session:
            found = camera_by_controller(session, controller_id)
            assert found is not None, f"{controller_id} never polled"
            return Device(self._http, controller_id, found.id)

    def _act(self, controller_id: str, package_id: str | None, kind: ActionKind) -> int:
        device = self.known(controller_id)
        with self.services.sessions.begin() as session:
            action = Action(camera_id=device.camera_id, package_id=package_id, kind=kind, state=ActionState.PENDING)
            session.add(action)
            session.flush()
            assert release(session, [action.id], deadline_at=None) == [action.id]
        return action.id


@pytest.fixture
def fleet(services: Services, client: httpx.Client, maker: Maker, tars: dict[int, bytes]) -> Fleet:
    return Fleet(services, client, maker, tars)


QUICK = {"poll_s": 0.1, "install_s": 0.01, "self_test_s": 0.01, "telemetry_s": None}


@pytest.fixture
def simulate(served: Any, maker: Maker, fleet: Fleet) -> Callable[..., Simulation]:
    """Makes cameras that let themselves in with the fleet's provisioning token."""

    def make(number: int = 1, **changes: Any) -> Simulation:
        trusted = changes.pop("trusted", maker.trusted)
        behaviour = Behaviour(**(QUICK | changes))
        return Simulation(served.url, named("sim-", number), provisioning=PROVISIONING, trusted=trusted, behaviour=behaviour)

    return make


def live(simulation: Simulation, until: Callable[[], bool], *, limit_s: float = 15.0) -> None:
    """Let its cameras live until it is so."""

    async def watch() -> None:
        running = asyncio.create_task(simulation.run(limit_s))
        while not running.done() and not await asyncio.to_thread(until):
            await asyncio.sleep(0.02)
        simulation.stop()
        await running

    asyncio.run(watch())
    assert until(), f"after {limit_s} s: {simulation.states()} {simulation.counts()} {simulation.complaints()}"
