"""The demo's rollout against the real service: everything but the second packaging job, which takes a minute."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from services.fleet.settings import FleetSettings
from shared.client.cli import demo_fleet
from shared.client.errors import ClientError
from shared.client.sdk import PicofleetClient
from shared.contracts.pipelines import StepOut
from shared.contracts.rollouts import ActionState, RolloutState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def settings(settings: FleetSettings) -> FleetSettings:
    return settings.model_copy(update={"run_loops": True})


@pytest.fixture
def platform(packages: Any, jobs: Any, served: Any, admin: dict[str, str]) -> Iterator[PicofleetClient]:
    packages.published(1)
    packages.published(2)
    key = admin["Authorization"].removeprefix("Bearer ")
    with PicofleetClient(jobs.url, key, fleet_url=served.url) as client:
        yield client


@pytest.fixture
def step() -> Any:
    return SimpleNamespace(job_id="x", result={"line": "picosam2", "release": 1})


@contextmanager
def _no_job(_: object, __: StepOut) -> Iterator[str]:
    yield "job"


def test_the_first_reaches_all_and_the_second_is_stopped_at_the_canaries(
    platform: PicofleetClient, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_fleet, "_second_package", _no_job)
    monkeypatch.setattr(demo_fleet, "_made", lambda *_: "picosam2/2")
    console = Console(record=True, width=160)
    words = demo_fleet.roll_out(platform, console, step)
    assert words == "rolled out picosam2/1 to 50 cameras, picosam2/2 stopped at the canary, 5 returned"
    second, first = platform.fleet.rollouts.list()
    assert (first.state, first.counts) == (RolloutState.FINISHED, {ActionState.RUNNING: 50})
    assert (second.state, second.counts[ActionState.RESTORED]) == (RolloutState.ROLLED_BACK, 5)
    assert {each.current_package for each in platform.fleet.cameras.list()} == {"picosam2/1"}
    said = console.export_text()
    assert "rolled back" in said
    assert "50 run picosam2/1" in said


def test_a_second_package_that_is_not_made_ends_the_demo_with_its_reason(
    platform: PicofleetClient, step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise ClientError("The second package was not made: out of memory")

    monkeypatch.setattr(demo_fleet, "CAMERAS", 5)
    monkeypatch.setattr(demo_fleet, "CANARIES", 1)
    monkeypatch.setattr(demo_fleet, "_second_package", _no_job)
    monkeypatch.setattr(demo_fleet, "_made", fails)
    with pytest.raises(ClientError, match="out of memory"):
        demo_fleet.roll_out(platform, Console(quiet=True), step)
    (token,) = platform.fleet.provisioning_tokens.list()
    assert token.revoked_at is not None, "nobody else comes in with it"
