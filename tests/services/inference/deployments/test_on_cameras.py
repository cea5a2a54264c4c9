"""A deployment on a fleet with everything real: the jobs service's packages, the fleet service, and simulated cameras."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from services.fleet.app import create_app as create_fleet_app
from services.fleet.migrate import upgrade as upgrade_fleet
from services.fleet.settings import FleetSettings
from services.inference.settings import InferenceSettings
from shared.client.sdk import PicofleetClient
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.simulation import Simulation, named
from shared.contracts.cameras import GroupIn, ProvisioningTokenIn
from shared.contracts.deployments import FleetTarget
from shared.contracts.keys import Scope
from shared.contracts.rollouts import RolloutState
from tests.services.fleet.packages.conftest import Packages

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
CAMERAS = 6


@pytest.fixture
def mlflow_url() -> str:
    return "http://127.0.0.1:9"


@pytest.fixture
def jobs_changes(tmp_path: Path) -> dict[str, Any]:
    return {"package_key": str(tmp_path / "keys" / "packages.pem")}


@pytest.fixture
def fleet_app(databases: Any, jobs: Any, operator: dict[str, str], tmp_path: Path, serve: Callable[[FastAPI], Any]) -> Any:
    url = databases.create()
    upgrade_fleet(url)
    key = operator["Authorization"].removeprefix("Bearer ")
    blobs = str(tmp_path / "fleet-blobs")
    return serve(create_fleet_app(FleetSettings(database_url=url, jobs_url=jobs.url, api_key=key, blob_url=blobs)))


@pytest.fixture
def settings(settings: InferenceSettings, fleet_app: Any) -> InferenceSettings:
    changes = {"fleet_url": fleet_app.url, "fleet_key": settings.api_key, "converge_s": 0.2, "run_loops": True}
    return settings.model_copy(update=changes)


@pytest.fixture
def platform(jobs: Any, served: Any, fleet_app: Any, key_for: Callable[[Scope], dict[str, str]]) -> Iterator[PicofleetClient]:
    key = key_for(Scope.ADMIN)["Authorization"].removeprefix("Bearer ")
    with PicofleetClient(jobs.url, key, inference_url=served.url, fleet_url=fleet_app.url) as client:
        yield client


@pytest.fixture
def cameras(platform: PicofleetClient) -> Iterator[Simulation]:
    platform.fleet.groups.put("berlin", GroupIn(selector="site=berlin"))
    token = platform.fleet.provisioning_tokens.create(ProvisioningTokenIn(name="berlin", labels={"site": "berlin"}))
    behaviour = Behaviour(poll_s=0.3, install_s=0.1, self_test_s=0.1, telemetry_s=0.5)
    given: dict[str, Any] = {"provisioning": token.token, "trusted": platform.packages.keys(), "behaviour": behaviour}
    with Simulation(platform.fleet.url, named("cam-", CAMERAS), **given) as running:
        deadline = time.monotonic() + 30
        while platform.fleet.groups.get("berlin").cameras < CAMERAS:
            assert time.monotonic() < deadline, "the cameras have registered"
            time.sleep(0.1)
        yield running


@pytest.fixture
def published(fleet_app: Any, jobs: Any, tmp_path: Path, platform: PicofleetClient) -> None:
    (tmp_path / "made").mkdir()
    with httpx.Client(base_url=fleet_app.url) as http:
        packages = Packages(fleet_app.app.state.services, http, {}, jobs, tmp_path / "made")
        for release in (1, 2):
            packages.published(release)


def on_berlin(package: str) -> FleetTarget:
    return FleetTarget.model_validate(
        {"target": "fleet:berlin", "package": package, "phases": [{"count": 2, "soak_s": 0}, {"percent": 100, "soak_s": 0}]}
    )


@pytest.mark.usefixtures("published")
def test_put_move_back_and_delete(platform: PicofleetClient, cameras: Simulation) -> None:
    deployments = platform.deployments
    first = deployments.put("gate", on_berlin("picosam2/1"), wait_s=60)
    assert first.rollout is not None
    assert (first.ready, first.rollout.state, first.rollout.cameras) == (True, RolloutState.FINISHED, CAMERAS)
    assert cameras.packages() == {"picosam2/1": CAMERAS}
    deployments.put("gate", on_berlin("picosam2/2"), wait_s=60)
    assert cameras.packages() == {"picosam2/2": CAMERAS}
    back = deployments.rollback("gate", wait_s=60)
    assert back.rollout is not None
    assert (back.generation, back.rollout.returns, back.rollout.state) == (3, True, RolloutState.ROLLED_BACK)
    assert cameras.packages() == {"picosam2/1": CAMERAS}
    assert [each.package for each in platform.fleet.rollouts.list()] == ["picosam2/2", "picosam2/1"], "no third one"
    deployments.delete("gate")
    assert deployments.find("gate") is None
    assert cameras.packages() == {"picosam2/1": CAMERAS}


@pytest.mark.usefixtures("published")
def test_a_rollout_that_runs_gives_way_to_the_next_generation(platform: PicofleetClient, cameras: Simulation) -> None:
    spec = on_berlin("picosam2/1")
    soaking = spec.model_copy(update={"phases": [spec.phases[0].model_copy(update={"soak_s": 3600}), spec.phases[1]]})
    platform.deployments.put("gate", soaking)
    begun = platform.deployments.wait_begun("gate", wait_s=30)
    assert begun.rollout is not None
    platform.deployments.put("gate", on_berlin("picosam2/2"), wait_s=60)
    assert cameras.packages() == {"picosam2/2": CAMERAS}
    assert platform.fleet.rollouts.get(begun.rollout.id or "").state is RolloutState.ABORTED
    platform.deployments.delete("gate")


@pytest.mark.usefixtures("published")
def test_deleting_aborts_what_runs(platform: PicofleetClient, cameras: Simulation) -> None:
    spec = on_berlin("picosam2/1")
    phases = [spec.phases[0].model_copy(update={"soak_s": 3600}), spec.phases[1]]
    platform.deployments.put("gate", spec.model_copy(update={"phases": phases}))
    begun = platform.deployments.wait_begun("gate", wait_s=30)
    assert begun.rollout is not None
    platform.deployments.delete("gate")
    ended = platform.fleet.rollouts.wait(begun.rollout.id or "", wait_s=30)
    assert (ended.state, ended.reason) == (RolloutState.ABORTED, "the deployment was deleted")
