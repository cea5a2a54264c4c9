"""The agent that runs on cameras, against the real service."""

from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select

from services.camera.agent import Agent
from services.fleet.actions.models import Action
from services.fleet.packages.models import Package, Statement
from services.fleet.runtime import Services
from shared.contracts.packaging import SignedReturnOut
from shared.contracts.rollouts import ActionKind
from tests.services.camera.conftest import Maker, some_settings
from tests.services.camera.doubles import FakeSensor, until
from tests.services.camera.test_installing import a_statement
from tests.services.fleet.ddi.conftest import TOKEN, Device, World


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return Maker(tmp_path_factory.mktemp("packages"))


@pytest.fixture
def sensor() -> FakeSensor:
    return FakeSensor()


@pytest.fixture
def agent(served: Any, device: Device, package: Maker, sensor: FakeSensor, tmp_path: Path) -> Iterator[Agent]:
    settings = some_settings(tmp_path / "camera", package.keys, url=served.url, token=TOKEN, silence_s=10)
    made = Agent(settings, sensor, chance=Random(1))
    made.begin()
    yield made
    made.close()


@pytest.fixture
def offer(world: World, device: Device, package: Maker) -> Callable[..., int]:
    def make(release: int, **overrides: Any) -> int:
        stored = world.package(str(release), name="picosam2", content=package(release))
        return world.action(device, stored, **overrides)

    return make


def talk(agent: Agent) -> None:
    agent._poll_at = 0.0
    agent.turn()


def current(services: Services, world: World, device: Device) -> str | None:
    wanted = world.camera(device).current_package_id
    with services.sessions() as session:
        found = session.scalar(select(Package).where(Package.id == wanted))
        return found.ref if found else None


def test_a_package_walks_through_all_states_and_runs(
    agent: Agent, world: World, device: Device, services: Services, offer: Callable[..., int]
) -> None:
    action = offer(7)
    talk(agent)
    assert world.state(action) == "running"
    states = list(dict.fromkeys(row.state for row in world.history(action)))
    assert states[-5:] == ["downloading", "verifying", "installing", "self_testing", "running"]
    assert current(services, world, device) == "picosam2/7"
    talk(agent)
    assert world.camera(device).attributes["package"] == "picosam2/7"


def test_one_that_fails_is_told_with_what_runs_instead(
    agent: Agent, world: World, device: Device, services: Services, sensor: FakeSensor, offer: Callable[..., int]
) -> None:
    offer(7)
    talk(agent)
    sensor.faults["picosam2/8"] = "drift"
    action = offer(8)
    talk(agent)
    assert world.state(action) == "failed"
    assert "golden frames do not match" in world.history(action)[-1].message
    assert current(services, world, device) == "picosam2/7"


def test_it_returns_by_the_services_signed_statement_and_to_nothing(
    agent: Agent, world: World, device: Device, sensor: FakeSensor, package: Maker, offer: Callable[..., int]
) -> None:
    first = offer(7)
    talk(agent)
    offer(8)
    talk(agent)
    envelope = SignedReturnOut.model_validate_json(a_statement(package.key, 8, 7)["value"])
    world.add(Statement(line="picosam2", from_release=8, to_release=7, envelope=envelope.model_dump()))
    package_id = _package_of(world, first)
    back = world.action(device, package_id, kind=ActionKind.RESTORE)
    talk(agent)
    assert world.state(back) == "running"
    assert sensor.running == "picosam2/7"
    nothing = world.action(device, None, kind=ActionKind.RESTORE)
    talk(agent)
    assert world.state(nothing) == "running"
    assert sensor.running is None


def _package_of(world: World, action: int) -> str | None:
    with world._services.sessions() as session:
        return session.get_one(Action, action).package_id


def test_a_cancelled_action_stops(agent: Agent, world: World, sensor: FakeSensor, offer: Callable[..., int]) -> None:
    action = offer(7)
    world.cancel(action)
    talk(agent)
    assert world.state(action) == "cancelled"
    assert sensor.loaded == []


def test_telemetry_is_understood(agent: Agent, world: World, device: Device, offer: Callable[..., int]) -> None:
    offer(7)
    talk(agent)
    until(lambda: agent._figures._sum.frames > 5, "frames")
    agent._telemetry_at = 0.0
    agent.turn()
    told = world.camera(device).telemetry
    assert told is not None
    assert told["package"] == "picosam2/7"
    assert told["frames"] > 5
    assert told["golden"] == "passed"
    assert told["dnn_ms"] == 15.0
