"""What simulated cameras do, and what the real fleet service makes of it."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from shared.client.errors import Unusable
from shared.client.simulator.camera import Stage
from shared.client.simulator.simulation import Simulation, named
from shared.contracts.cameras import CameraFormat
from shared.contracts.rollouts import ActionKind, ActionState
from shared.kit.packages.keys import generate
from tests.shared.client.simulator.conftest import PROVISIONING, Fleet, Maker, live

Simulate = Callable[..., Simulation]
WALK = [ActionState.DOWNLOADING, ActionState.VERIFYING, ActionState.INSTALLING, ActionState.SELF_TESTING]


def everybody_is(simulation: Simulation, *stages: Stage) -> Callable[[], bool]:
    return lambda: set(simulation.stages()) <= set(stages)


def let_in(simulation: Simulation) -> Simulation:
    """Its cameras are known to the service."""
    live(simulation, everybody_is(simulation, Stage.IDLE))
    return simulation


def told(fleet: Fleet, simulation: Simulation, package_id: str | None, *stages: Stage, **kind: ActionKind) -> list[int]:
    """Its cameras have done as they were told."""
    actions = fleet.tell(simulation, package_id, **kind)
    live(simulation, lambda: all(fleet.state(each) not in OPEN for each in actions) and everybody_is(simulation, *stages)())
    return actions


OPEN = {"pending", "offered", "downloading", "verifying", "installing", "self_testing"}


def test_a_camera_walks_through_all_states_to_running(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(3))
    actions = told(fleet, simulation, fleet.signed(1), Stage.RUNNING)
    for action, camera in zip(actions, simulation.cameras, strict=True):
        assert fleet.steps(action) == [ActionState.OFFERED, *WALK, ActionState.RUNNING]
        assert fleet.runs(camera.controller_id) == fleet.signed(1)
    assert simulation.packages() == {"picosam2/1": 3}
    assert simulation.complaints() == {}


def test_it_tells_its_attributes(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    live(simulation, lambda: simulation.counts().get("attributes", 0) > 0)
    assert fleet.camera(fleet.known("sim-00000")).attributes["model"] == "simulated-imx500"


def test_a_broken_package_leaves_each_camera_with_what_it_had(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(2, broken=frozenset({"picosam2/2"})))
    told(fleet, simulation, fleet.signed(1), Stage.RUNNING)
    for action in told(fleet, simulation, fleet.signed(2), Stage.FAILED):
        assert fleet.steps(action)[-1] is ActionState.FAILED
        assert "self test" in fleet.history(action)[-1].message
    assert simulation.packages() == {"picosam2/1": 2}
    assert fleet.runs("sim-00001") == fleet.signed(1)


def test_a_return_with_a_signed_statement_is_followed(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    for number in (1, 2, 3):
        told(fleet, simulation, fleet.signed(number), Stage.RUNNING)
    fleet.allow_return(3, 1)
    (action,) = told(fleet, simulation, fleet.signed(1), Stage.RESTORED, kind=ActionKind.RESTORE)
    assert fleet.state(action) == "running"
    assert simulation.packages() == {"picosam2/1": 1}


def test_an_older_release_without_one_is_never_installed(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    for number in (1, 2, 3):
        told(fleet, simulation, fleet.signed(number), Stage.RUNNING)
    (action,) = told(fleet, simulation, fleet.signed(1), Stage.FAILED)
    assert "is older than release 3" in fleet.history(action)[-1].message
    assert simulation.packages() == {"picosam2/3": 1}


def test_a_statement_that_leads_elsewhere_does_not_help(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    for number in (1, 3):
        told(fleet, simulation, fleet.signed(number), Stage.RUNNING)
    fleet.allow_return(2, 1)  # not from 3
    (action,) = told(fleet, simulation, fleet.signed(1), Stage.FAILED, kind=ActionKind.RESTORE)
    assert "leads picosam2 from 2 to 1" in fleet.history(action)[-1].message


def test_a_return_to_nothing_removes_the_package(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    told(fleet, simulation, fleet.signed(1), Stage.RUNNING)
    told(fleet, simulation, None, Stage.RESTORED, kind=ActionKind.RESTORE)
    assert (simulation.packages(), fleet.runs("sim-00000")) == ({None: 1}, None)


def test_a_package_of_another_key_is_never_installed(fleet: Fleet, simulate: Simulate, maker: Maker) -> None:
    generate(maker.folder / "stranger.pem")
    forged = fleet.package("7", name="picosam2", content=maker.package(7, key=maker.folder / "stranger.pem"))
    simulation = let_in(simulate(2))
    for action in told(fleet, simulation, forged, Stage.FAILED):
        assert ActionState.INSTALLING not in fleet.steps(action)
    assert simulation.packages() == {None: 2}


def test_a_package_under_anothers_name_is_never_installed(fleet: Fleet, simulate: Simulate) -> None:
    replayed = fleet.package("9", name="picosam2", content=fleet.tars[1])
    simulation = let_in(simulate())
    (action,) = told(fleet, simulation, replayed, Stage.FAILED)
    assert "picosam2/1 is inside" in fleet.history(action)[-1].message


def test_bytes_that_are_no_package_are_never_installed(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    (action,) = told(fleet, simulation, fleet.package("8", name="picosam2", content=b"\x00" * 5000), Stage.FAILED)
    assert ActionState.INSTALLING not in fleet.steps(action)


def test_without_trusted_keys_whatever_comes_is_installed(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(trusted=None))
    told(fleet, simulation, fleet.package("8", name="other", content=b"\x00" * 5000), Stage.RUNNING)
    assert simulation.packages() == {"other/8": 1}


def test_each_package_is_verified_once_and_without_downloads_fetched_once(
    fleet: Fleet, simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shared.client.simulator import shelf

    verified: list[Any] = []
    real = shelf.verify
    monkeypatch.setattr(shelf, "verify", lambda *given: verified.append(given) or real(*given))
    simulation = let_in(simulate(8, download=False))
    told(fleet, simulation, fleet.signed(1), Stage.RUNNING)
    assert (len(verified), simulation.counts()["downloads"]) == (1, 8 + 1)


def test_an_action_that_is_called_off_is_let_go(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate())
    (action,) = fleet.tell(simulation, fleet.signed(1))
    with fleet.services.sessions.begin() as session:
        from services.fleet.actions.moves import move

        assert move(session, action, ActionState.OFFERED)
    fleet.cancel(action)
    live(simulation, lambda: fleet.state(action) == "cancelled")
    assert simulation.packages() == {None: 1}
    assert fleet.steps(action)[-1] is ActionState.CANCELLED


def test_misbehaving_cameras_come_to_an_honest_end(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(8, misbehave=1.0, broken=frozenset({"picosam2/2"})))
    for action in told(fleet, simulation, fleet.signed(1), Stage.RUNNING):
        assert fleet.steps(action)[-1] is ActionState.RUNNING
    for action in told(fleet, simulation, fleet.signed(2), Stage.FAILED):
        assert fleet.steps(action)[-1] is ActionState.FAILED
    assert simulation.packages() == {"picosam2/1": 8}
    assert simulation.counts()["mischief"] > 50
    assert simulation.counts().get("server_errors", 0) == 0, simulation.complaints()


def test_the_failure_rate_is_that_of_installations_and_the_same_for_the_same_seed(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(12, failure_rate=0.5, seed=4))
    actions = told(fleet, simulation, fleet.signed(1), Stage.RUNNING, Stage.FAILED)
    failed = {name for name, (stage, _) in simulation.states().items() if stage is Stage.FAILED}
    assert 1 <= len(failed) <= 11
    again = {
        camera.controller_id
        for camera, action in zip(simulation.cameras, actions, strict=True)
        if simulation.behaviour.fails("picosam2/1", camera.controller_id, str(action))
    }
    assert failed == again


def test_cameras_may_ask_for_tokens_of_their_own(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(2, enrol=True))
    told(fleet, simulation, fleet.signed(1), Stage.RUNNING)
    assert simulation.counts()["enrol"] == 2
    assert fleet.camera(fleet.known("sim-00000")).token_hash is not None


def test_telemetry_tells_what_runs_and_a_sick_package_loses_frames(fleet: Fleet, simulate: Simulate) -> None:
    simulation = let_in(simulate(telemetry_s=0.2, samples_s=0.2, sick=frozenset({"picosam2/1"})))
    told(fleet, simulation, fleet.signed(1), Stage.RUNNING)
    live(simulation, lambda: simulation.counts().get("telemetry", 0) > 1 and simulation.counts().get("samples", 0) > 0)
    said = fleet.camera(fleet.known("sim-00000")).telemetry
    assert said["package"] == "picosam2/1"
    assert said["missing_frames"] > 0
    assert simulation.complaints() == {}


def test_who_is_not_let_in_says_so_and_does_not_hammer(served: Any, fleet: Fleet, simulate: Simulate) -> None:
    behaviour = simulate(1).behaviour
    simulation = Simulation(served.url, named("sim-", 1), provisioning="wrong", trusted=None, behaviour=behaviour)
    live(simulation, everybody_is(simulation, Stage.SHUT_OUT))
    asyncio.run(simulation.run(1))
    assert simulation.counts()["polls"] <= 4, "ten would be due"
    assert 401 in simulation.complaints()


def test_names_that_devices_may_have_are_all_reached(served: Any, fleet: Fleet, maker: Maker, simulate: Simulate) -> None:
    names = ["a/b", "\U0001f4f7", "100%", "a b?c#d", "ü;x=1"]
    behaviour = simulate(1).behaviour
    cameras: dict[str, str | None] = dict.fromkeys(names)
    simulation = Simulation(served.url, cameras, provisioning=PROVISIONING, trusted=maker.trusted, behaviour=behaviour)
    let_in(simulation)
    assert all(fleet.known(name) for name in names)


def test_a_service_that_is_away_for_a_while_finds_them_again(
    fleet: Fleet, maker: Maker, simulate: Simulate, free_port_number: int
) -> None:
    simulation = Simulation(
        f"http://127.0.0.1:{free_port_number}",
        named("x", 2),
        provisioning="p",
        trusted=maker.trusted,
        behaviour=simulate(1).behaviour,
    )
    asyncio.run(simulation.run(0.5))
    assert simulation.stages() == {Stage.NEW: 2}
    assert simulation.counts()["unreachable"] >= 2
    assert 0 in simulation.complaints()


def test_it_may_run_in_a_thread_and_be_stopped_twice(fleet: Fleet, simulate: Simulate) -> None:
    simulation = simulate(2)
    with simulation as running:
        give_up = time.monotonic() + 10
        while running.stages() != {Stage.IDLE: 2} and time.monotonic() < give_up:
            time.sleep(0.02)
    assert not running.is_alive
    simulation.stop()
    assert running.stages() == {Stage.IDLE: 2}
    assert json.dumps(running.counts())


def test_a_camera_without_a_token_is_refused(served: Any) -> None:
    with pytest.raises(Unusable, match="x00000 has no token"):
        Simulation(served.url, named("x", 1), trusted=None)


def test_cameras_with_tokens_of_their_own_use_them(served: Any, fleet: Fleet, simulate: Simulate) -> None:
    device = fleet.device("cam-1", format=CameraFormat.PACKAGE)
    tokens: dict[str, str | None] = {"cam-1": device.authorization.removeprefix("TargetToken ")}
    simulation = let_in(Simulation(served.url, tokens, trusted=None, behaviour=simulate(1).behaviour))
    assert simulation.complaints() == {}
