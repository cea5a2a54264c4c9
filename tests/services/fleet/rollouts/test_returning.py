"""Rollouts that stop, and the way back."""

import pytest

from services.fleet.packages.models import Package
from shared.contracts.rollouts import ActionKind

RESTORE = ActionKind.RESTORE


def test_a_bad_package_is_stopped_at_the_canary_and_every_touched_camera_returns(world):
    good, bad = world.package("a/1"), world.package("b/2")
    cameras = world.cameras(20, package=good)
    rollout = world.rollout(bad, phases=[{"percent": 25, "failure_percent": 30, "soak_s": 60}, {"percent": 100}])
    world.tick()
    canaries = [each.camera_id for each in world.active()]
    world.succeed(only=canaries[:3])
    world.fail(only=canaries[3:])
    world.tick()
    shown = world.shown(rollout)
    assert (shown.state, shown.reason) == ("rolling_back", "phase 1: 2 of 5 cameras failed, limit 30 %")
    assert shown.counts == {"cancelled": 15, "restoring": 3, "restored": 2}
    assert shown.restores == {"pending": 3}
    assert world.run(rollout) == "rolled_back"
    assert {world.camera(each).current_package_id for each in cameras} == {good.id}
    assert world.good() == {good.id: 20}
    assert world.shown(rollout).reason == "phase 1: 2 of 5 cameras failed, limit 30 %"


def test_a_failed_camera_that_has_its_last_good_package_needs_no_action(world):
    world.cameras(1)
    rollout = world.rollout(world.package())
    world.tick()
    world.fail()
    world.tick()
    assert world.state(rollout) == "rolled_back"
    assert world.states(rollout, RESTORE) == {}
    (action,) = world.actions(rollout)
    assert [state for state, _ in world.history(action.id)] == ["offered", "failed", "restoring", "restored"]


def test_a_camera_in_the_middle_is_asked_to_stop_and_returns_only_then(world):
    good, bad = world.package("a/1"), world.package("b/2")
    world.cameras(2, package=good)
    rollout = world.rollout(bad, on_failure="roll_back")
    world.tick()
    first, second = (each.camera_id for each in world.active())
    world.answer("offered", "installing", only=[second])
    world.fail(only=[first])
    world.tick(3)
    (open_,) = world.active()
    assert (open_.camera_id, open_.kind, open_.cancel_requested_at is not None) == (second, "install", True)
    world.cancelled()
    world.tick()
    (open_,) = world.active()
    assert (open_.camera_id, open_.kind, open_.package_id) == (second, "restore", good.id)
    world.succeed()
    world.tick()
    assert world.state(rollout) == "rolled_back"


def test_a_camera_that_succeeds_although_it_was_to_stop_returns_all_the_same(world):
    good, bad = world.package("a/1"), world.package("b/2")
    (camera,) = world.cameras(1, package=good)
    rollout = world.rollout(bad)
    world.tick()
    world.offer()
    world.do("rollback", rollout)
    world.tick()
    world.answer("running")
    assert world.run(rollout) == "rolled_back"
    assert world.camera(camera).current_package_id == good.id


def test_cameras_that_fall_silent_while_they_install_stop_the_rollout_and_return_when_they_come_back(world):
    good, bad = world.package("a/1"), world.package("b/2")
    world.cameras(10, package=good)
    rollout = world.rollout(bad, phases=[{"count": 4}, {"percent": 100}], deadline_s=100)
    world.tick()
    silent, *others = (action.camera_id for action in world.active())
    world.answer("offered", "installing", only=[silent])
    world.succeed(only=others)
    for _ in range(2):
        world.later(101)
        world.tick()
    assert (world.state(rollout), world.phases(rollout)) == ("rolling_back", ["running", "waiting"])
    assert "1 of 4 cameras failed" in world.shown(rollout).reason
    assert silent in [restore.camera_id for restore in world.active()]
    world.succeed()
    world.tick()
    assert (world.state(rollout), world.good()) == ("rolled_back", {good.id: 10})


def test_a_camera_that_does_not_answer_is_returned_when_it_comes_back_within_the_deadline(world):
    good, bad = world.package("a/1"), world.package("b/2")
    (camera,) = world.cameras(1, package=good)
    rollout = world.rollout(bad, deadline_s=3600)
    world.tick()
    world.offer()
    world.do("rollback", rollout)
    world.tick()
    world.later(601)
    world.tick()
    (restore,) = world.active()
    assert (restore.kind, restore.camera_id) == ("restore", camera)
    world.later(3601)
    world.tick(2)
    assert world.state(rollout) == "rolled_back"
    assert world.shown(rollout).reason == "rolled back by someone; 1 cameras did not return"


def test_a_camera_that_had_nothing_returns_to_nothing(world):
    (camera,) = world.cameras(1)
    rollout = world.rollout(world.package())
    world.tick()
    world.succeed()
    world.do("rollback", rollout)
    world.tick()
    (restore,) = world.active()
    assert (restore.kind, restore.package_id) == ("restore", None)
    assert world.run(rollout) == "rolled_back"
    assert world.camera(camera).current_package_id is None


def test_a_finished_rollout_can_be_rolled_back_and_what_was_good_is_good_again(world):
    good, newer = world.package("a/1"), world.package("b/2")
    cameras = world.cameras(3, package=good)
    rollout = world.rollout(newer)
    assert world.run(rollout) == "finished"
    assert world.good() == {newer.id: 3}
    world.do("rollback", rollout)
    assert world.run(rollout) == "rolled_back"
    assert world.good() == {good.id: 3}
    assert {world.camera(each).current_package_id for each in cameras} == {good.id}


def test_cameras_that_have_something_newer_by_now_keep_it(world):
    first, second = world.package("a/1"), world.package("b/2")
    moved, stayed = world.cameras(1), world.cameras(1)
    old = world.rollout(first, late_joiners=False)
    world.run(old)
    world.run(world.rollout(second, cameras=moved))
    world.do("rollback", old)
    assert world.run(old) == "rolled_back"
    assert world.camera(moved[0]).current_package_id == second.id
    assert world.camera(stayed[0]).current_package_id is None


def test_a_camera_that_ran_the_package_before_is_not_touched(world):
    package = world.package()
    (camera,) = world.cameras(1, package=package)
    rollout = world.rollout(package)
    assert world.run(rollout) == "finished"
    world.do("rollback", rollout)
    assert world.run(rollout) == "rolled_back"
    assert world.states(rollout, RESTORE) == {}
    assert world.camera(camera).current_package_id == package.id


def test_a_package_that_was_deleted_cannot_be_returned_to(world):
    good, bad = world.package("a/1"), world.package("b/2")
    world.cameras(1, package=good)
    rollout = world.rollout(bad)
    world.run(rollout)
    world.change(Package, good.id, deleted_at=world.now())
    world.do("rollback", rollout)
    assert world.run(rollout) == "rolled_back"
    (restore,) = world.actions(rollout, kind="restore")
    assert (restore.state, restore.message) == ("failed", "the package that the camera would return to was deleted")


@pytest.mark.parametrize(("on_failure", "state"), [("pause", "paused"), ("abort", "aborted")])
def test_other_ways_to_stop_let_nobody_in(world, on_failure, state):
    package = world.package()
    cameras = world.cameras(4)
    rollout = world.rollout(package, phases=[{"count": 2}, {"count": 4}], on_failure=on_failure)
    world.tick()
    failing = world.active()[0].camera_id
    world.fail(only=[failing])
    world.succeed()
    world.tick(3)
    assert world.state(rollout) == state
    assert not world.active()
    assert sum(world.camera(each).current_package_id == package.id for each in cameras) == 1


def test_an_aborted_rollout_asks_open_devices_to_stop(world):
    world.cameras(3)
    rollout = world.rollout(world.package())
    world.tick()
    seen = world.active()[0]
    world.offer(only=[seen.camera_id])
    world.do("abort", rollout)
    world.tick()
    assert world.states(rollout) == {"cancelled": 2, "offered": 1}
    world.later(601)
    world.tick(11)
    assert world.states(rollout) == {"cancelled": 2, "expired": 1}


def test_a_person_may_let_it_go_on_and_one_failure_more_stops_it_again(world):
    world.cameras(10)
    rollout = world.rollout(world.package(), phases=[{"count": 4, "failure_percent": 10}, {"count": 10}], on_failure="pause")
    world.tick()
    canaries = [each.camera_id for each in world.active()]
    world.fail(only=canaries[:1])
    world.tick()
    assert world.state(rollout) == "paused"
    world.do("resume", rollout)
    world.tick()
    assert world.state(rollout) == "running"
    world.fail(only=canaries[1:2])
    world.tick()
    assert world.state(rollout) == "paused"
    world.do("resume", rollout)
    world.succeed()
    world.tick(3)
    assert world.phases(rollout) == ["done", "running"]


def test_a_pause_by_a_person_accepts_no_failure(world):
    world.cameras(4)
    rollout = world.rollout(world.package(), on_failure="abort")
    world.tick()
    world.do("pause", rollout)
    world.fail()
    world.tick()
    assert world.state(rollout) == "paused"
    world.do("resume", rollout)
    world.tick()
    assert world.state(rollout) == "aborted"


def test_a_retry_gives_failed_cameras_another_action(world):
    package = world.package()
    cameras = world.cameras(4)
    rollout = world.rollout(package, phases=[{"percent": 100, "failure_percent": 100, "success_percent": 25}])
    world.tick()
    world.fail(only=cameras[:2])
    world.succeed()
    world.tick(3)
    assert world.state(rollout) == "finished"
    world.do("retry", rollout)
    world.tick()
    shown = world.shown(rollout)
    assert (shown.state, shown.cameras, shown.counts) == ("running", 4, {"running": 2, "pending": 2})
    assert [each.state for each in world.actions(rollout, camera_id=cameras[0])] == ["failed", "pending"]
    assert world.run(rollout) == "finished"
    assert world.shown(rollout).counts == {"running": 4}
    assert world.good() == {package.id: 4}


def test_cameras_that_were_tried_twice_return_once(world):
    good, bad = world.package("a/1"), world.package("b/2")
    cameras = world.cameras(2, package=good)
    rollout = world.rollout(bad, phases=[{"percent": 100, "failure_percent": 100, "success_percent": 0}])
    world.tick()
    world.fail(only=cameras[:1])
    world.succeed()
    world.tick(3)
    world.do("retry", rollout)
    world.tick()
    world.succeed()
    world.tick(2)
    world.do("rollback", rollout)
    assert world.run(rollout) == "rolled_back"
    assert world.states(rollout, RESTORE) == {"running": 2}
    assert {world.camera(each).current_package_id for each in cameras} == {good.id}
