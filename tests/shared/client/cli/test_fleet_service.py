"""Cameras, groups, packages and rollouts of the command line against the real services, with simulated cameras."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared.client.sdk import PicofleetClient
from shared.client.simulator.behaviour import Behaviour
from shared.client.simulator.camera import Stage
from shared.client.simulator.simulation import Simulation, named
from shared.contracts.cameras import ProvisioningTokenIn
from shared.contracts.rollouts import ActionState

Run = Callable[..., Any]
Publish = Callable[[], int]


@pytest.fixture
def sdk(service: Any, fleet_service: Any) -> Iterator[PicofleetClient]:
    with PicofleetClient(service.url, service.key, fleet_url=fleet_service.url) as client:
        yield client


@contextmanager
def cameras(sdk: PicofleetClient, number: int, **behaviour: Any) -> Iterator[Simulation]:
    """Cameras with the label site=berlin that let themselves in; all are known."""
    token = sdk.fleet.provisioning_tokens.create(ProvisioningTokenIn(name="sim", labels={"site": "berlin"}))
    quick = {"poll_s": 0.2, "install_s": 0.01, "self_test_s": 0.01, "telemetry_s": 0.5}
    given = {"trusted": sdk.packages.keys(), "behaviour": Behaviour(**(quick | behaviour))}
    with Simulation(sdk.fleet.url, named("sim-", number), provisioning=token.token, **given) as running:
        give_up = time.monotonic() + 20
        while running.stages() != {Stage.IDLE: number} and time.monotonic() < give_up:
            time.sleep(0.05)
        yield running


def test_a_camera_from_its_registration_to_its_end(run: Run, fleet_service: Any) -> None:
    made = run("cameras", "register", "a/b \U0001f4f7", "--label", "site=berlin", "--label", "env=test")
    assert made.code == 0, made.err
    assert re.fullmatch(r"\S{16,}\n", made.out), "the token alone is on stdout"
    assert run("cameras", "label", "a/b \U0001f4f7", "site=paris", "env-").out.endswith("site=paris\n")
    shown = json.loads(run("cameras", "show", "a/b \U0001f4f7", "--json").out)
    assert shown["labels"] == {"site": "paris"}
    by_id = run("cameras", "show", shown["id"])
    assert "site=paris" in by_id.out
    assert "a/b \U0001f4f7" in run("cameras", "list", "-l", "site in (paris, rome)").out
    assert "No cameras" in run("cameras", "list", "-l", "site=berlin").err
    other = run("cameras", "token", "a/b \U0001f4f7", "--yes").out
    assert other != made.out
    assert run("cameras", "refresh", shown["id"]).code == 0
    assert run("cameras", "actions", shown["id"]).code == 0
    assert run("cameras", "register", "a/b \U0001f4f7").code == 4
    assert run("cameras", "rm", shown["id"], "--yes").code == 0
    assert "a/b" not in run("cameras", "list").out


def test_a_camera_is_replaced(run: Run, fleet_service: Any) -> None:
    run("cameras", "register", "old", "--label", "site=berlin")
    run("cameras", "register", "new")
    assert run("cameras", "replace", "old", "--by", "old", "--yes").code == 2
    ended = run("cameras", "replace", "old", "--by", "new", "--yes")
    assert ended.code == 0, ended.err
    assert json.loads(run("cameras", "show", "new", "--json").out)["labels"] == {"site": "berlin"}


def test_groups(run: Run, fleet_service: Any) -> None:
    run("cameras", "register", "c1", "--label", "site=berlin")
    made = run("groups", "put", "berlin", "site=berlin", "--time-zone", "Europe/Berlin", "--maintenance", "sat-mon 22:00 90min")
    assert made.out == "berlin: 1 camera\n", made.err
    assert "sat,sun,mon 22:00 90min" in run("groups", "list").out
    assert "Europe/Berlin" in run("groups", "show", "berlin").out
    assert "c1" in run("cameras", "list", "--group", "berlin").out
    assert run("groups", "rm", "berlin", "--yes").code == 0
    assert "No groups" in run("groups", "list").err


def test_provisioning_tokens(run: Run, fleet_service: Any) -> None:
    made = run("provisioning-tokens", "create", "berlin-2026", "--label", "site=berlin", "--max-cameras", "3", "--days", "30")
    assert made.code == 0, made.err
    (listed,) = json.loads(run("provisioning-tokens", "list", "--json").out)
    assert (listed["name"], listed["max_cameras"], "token" in listed) == ("berlin-2026", 3, False)
    assert run("provisioning-tokens", "revoke", listed["id"], "--yes").code == 0
    assert "revoked" in run("provisioning-tokens", "list").out


def test_a_package_is_imported_shown_and_removed(run: Run, fleet_service: Any, publish: Publish) -> None:
    publish()
    assert run("fleet-packages", "import", "picosam2/1").out == "picosam2/1\n"
    assert "picosam2/1" in run("fleet-packages", "list").out
    assert "package" in run("fleet-packages", "show", "picosam2/1").out
    assert run("fleet-packages", "show", "picosam2").code == 2
    assert run("fleet-packages", "import").code == 2
    assert run("fleet-packages", "import", "picosam2/9").code == 4
    assert run("rollouts", "create", "picosam2/1", "--selector", "").code == 0
    assert run("fleet-packages", "rm", "picosam2/1", "--yes").code != 0
    assert run("fleet-packages", "rm", "picosam2/1", "--force", "--yes").code == 0
    assert "picosam2/1" not in run("fleet-packages", "list").out


@pytest.mark.slow
def test_a_rollout_from_draft_to_its_end_and_a_broken_one_that_returns(
    run: Run, fleet_service: Any, publish: Publish, sdk: PicofleetClient
) -> None:
    """The whole of it: two packages, a good one and one that fails on every camera."""
    publish()
    publish()
    assert run("groups", "put", "berlin", "site=berlin").code == 0
    phases = ("--group", "berlin", "--phases", "1,50%,100%", "--soak", "0s")
    with cameras(sdk, 6, broken=frozenset({"picosam2/2"})) as running:
        made = run("rollouts", "create", "picosam2/1", *phases)
        assert made.code == 0, made.err
        assert "imported and verified" in made.err
        assert "picosam2-1 is draft" in made.out
        assert "6 cameras" in run("rollouts", "preview", "picosam2-1").out
        watched = run("rollouts", "start", "last", "--watch")
        assert watched.code == 0, watched.err
        assert "phase 3: done" in watched.err
        assert running.packages() == {"picosam2/1": 6}
        broken = run("rollouts", "create", "picosam2/2", *phases, "--start", "--watch")
        assert (broken.code, "rolled back" in broken.err) == (1, True), broken.err
        assert running.packages() == {"picosam2/1": 6}
        failed = json.loads(run("rollouts", "actions", "picosam2-2", "--json").out)
        assert {
            each["controller_id"] for each in failed if each["kind"] == "install" and each["state"] != ActionState.SUPERSEDED
        }
        assert all("6" in line for line in run("rollouts", "list").out.splitlines()[2:])
        assert running.complaints() == {}


@pytest.mark.slow
def test_a_rollout_is_halted_and_let_go_on_and_ended(run: Run, fleet_service: Any, publish: Publish) -> None:
    publish()
    run("cameras", "register", "c1")
    made = run("rollouts", "create", "picosam2/1", "--camera", "c1", "--name", "slow", "--start", "--json")
    rollout = json.loads(made.out)
    assert (rollout["state"], rollout["spec"]["cameras"]) == (
        "running",
        [json.loads(run("cameras", "show", "c1", "--json").out)["id"]],
    )
    assert "paused" in run("rollouts", "pause", "slow", "-m", "lunch").out
    assert "lunch" in run("rollouts", "show", "slow").out
    assert "running" in run("rollouts", "resume", rollout["id"]).out
    assert run("rollouts", "abort", "slow").code == 2, "nobody is there to be asked"
    assert "aborted" in run("rollouts", "abort", "slow", "--yes").out
    assert run("rollouts", "watch", "slow").code == 1
    assert run("rollouts", "resume", "slow").code == 4
    assert "draft" in run("rollouts", "clone", "slow", "again").out
    assert run("rollouts", "rm", "again", "--yes").code == 0
    assert run("rollouts", "show", "again").code == 4


@pytest.mark.slow
def test_cameras_are_simulated_until_a_rollout_is_over(
    run: Run, fleet_service: Any, publish: Publish, sdk: PicofleetClient
) -> None:
    publish()
    made = run("rollouts", "create", "picosam2/1", "-l", "site=berlin", "--phases", "100%", "--soak", "0s", "--name", "v1")
    assert made.code == 0, made.err
    starter = threading.Thread(target=_start_when_known, args=(sdk, 5))
    starter.start()
    ended = run(
        "cameras",
        "simulate",
        "5",
        "--label",
        "site=berlin",
        "--poll",
        "0.2",
        "--speed",
        "10",
        "--until-rollout",
        "v1",
        "--no-download",
    )
    starter.join()
    assert ended.code == 0, ended.err
    assert re.search(r"running\s+picosam2/1\s+5", ended.out)
    (token,) = sdk.fleet.provisioning_tokens.list()
    assert token.revoked_at is not None


def _start_when_known(sdk: PicofleetClient, number: int) -> None:
    give_up = time.monotonic() + 20
    while len(list(sdk.fleet.cameras.list())) < number and time.monotonic() < give_up:
        time.sleep(0.1)
    sdk.fleet.rollouts.start(sdk.fleet.rollouts.named("v1").id)
