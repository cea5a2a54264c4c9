"""Cameras that do not do well with what they run."""

import pytest

from services.fleet.cameras.models import Camera
from services.fleet.rollouts.health import judge, violation
from shared.contracts.cameras import Telemetry
from shared.contracts.rollouts import HealthCriteria


def tell(world, camera_id, **telemetry):
    with world.services.sessions.begin() as session:
        judge(session, session.get(Camera, camera_id), Telemetry.model_validate(telemetry))


@pytest.mark.parametrize(
    ("criteria", "telemetry", "expected"),
    [
        ({}, {"frames": 95, "missing_frames": 5}, ""),
        ({}, {"frames": 94, "missing_frames": 6}, "6 of 100 frames missing, limit 5 %"),
        ({"max_missing_frame_percent": None}, {"missing_frames": 100}, ""),
        ({"max_missing_frame_percent": 0}, {"frames": 9999, "missing_frames": 1}, "1 of 10000 frames missing, limit 0 %"),
        ({"max_dnn_ms": 16}, {"dnn_ms": 20.1}, "dnn 20.1 ms, limit 16"),
        ({"max_dnn_ms": 16}, {"dnn_ms": 16}, ""),
        ({"max_dnn_ms": 16}, {}, ""),
        ({}, {"restarts": 4}, "4 restarts, limit 3"),
        ({}, {"golden": "failed"}, "the golden frames fail"),
        ({"golden": False}, {"golden": "failed"}, ""),
        ({}, {"package": "picosam2/2"}, "runs picosam2/2, not picosam2/1"),
        ({}, {"package": "picosam2/1"}, ""),
    ],
)
def test_what_is_wrong_is_said_in_words(criteria, telemetry, expected):
    found = violation(HealthCriteria(**criteria), Telemetry.model_validate(telemetry), installed="picosam2/1")
    assert found == expected


def test_a_camera_that_falls_ill_while_its_phase_soaks_is_a_failure(world):
    cameras = world.cameras(4)
    phases = [{"count": 2, "soak_s": 60, "failure_percent": 40}, {"count": 4}]
    rollout = world.rollout(world.package(), phases=phases, health={"max_dnn_ms": 16})
    world.tick()
    canaries = [each.camera_id for each in world.active()]
    world.succeed()
    world.tick()
    tell(world, canaries[0], dnn_ms=20.1)
    (action,) = world.actions(rollout, camera_id=canaries[0])
    assert (action.state, action.message) == ("failed", "health: dnn 20.1 ms, limit 16")
    assert (world.camera(canaries[0]).health, world.camera(canaries[0]).health_reason) == ("bad", "dnn 20.1 ms, limit 16")
    world.tick()
    assert world.shown(rollout).reason == "phase 1: 1 of 2 cameras failed, limit 40 %"
    assert world.run(rollout) == "rolled_back"
    assert {world.camera(each).current_package_id for each in cameras} == {None}


def test_after_the_soak_health_is_noted_and_no_more(world):
    (camera,) = world.cameras(1)
    rollout = world.rollout(world.package())
    assert world.run(rollout) == "finished"
    tell(world, camera, restarts=9)
    assert world.states(rollout) == {"running": 1}
    assert world.camera(camera).health == "bad"
    tell(world, camera, frames=100)
    assert (world.camera(camera).health, world.camera(camera).health_reason) == ("ok", "")


def test_a_camera_that_runs_something_else_than_it_says_is_a_failure(world):
    (camera,) = world.cameras(1)
    rollout = world.rollout(world.package("picosam2/7"), phases=[{"percent": 100, "soak_s": 60}])
    world.tick()
    world.succeed()
    tell(world, camera, package="picosam2/6")
    assert world.states(rollout) == {"failed": 1}


def test_outside_of_rollouts_the_default_criteria_hold(world):
    (camera,) = world.cameras(1, package=world.package())
    tell(world, camera, frames=1, missing_frames=1)
    assert world.camera(camera).health_reason == "1 of 2 frames missing, limit 5 %"


def test_what_another_rollout_plans_for_the_camera_does_not_hide_what_it_runs(world):
    world.cameras(1)
    first = world.rollout(world.package("a/1"), phases=[{"percent": 100, "soak_s": 60}])
    world.tick()
    world.succeed()
    world.rollout(world.package("b/1"), phases=[{"percent": 100, "approval": True}])
    world.tick()
    (action,) = world.actions(first)
    tell(world, action.camera_id, golden="failed")
    assert world.states(first) == {"failed": 1}
