"""Deadlines, and rollouts that want the same camera."""


def test_a_camera_that_never_asks_expires_at_its_deadline(world):
    cameras = world.cameras(3)
    rollout = world.rollout(world.package(), deadline_s=100)
    world.tick()
    world.succeed(only=cameras[:2])
    world.tick(2)
    assert world.state(rollout) == "running"
    world.later(101)
    world.tick(3)
    assert world.states(rollout) == {"running": 2, "expired": 1}
    assert world.state(rollout) == "finished"


def test_a_camera_in_the_middle_is_asked_to_stop_at_its_deadline_and_expires_without_an_answer(world):
    cameras = world.cameras(2)
    rollout = world.rollout(world.package(), deadline_s=100)
    world.tick()
    world.answer("offered", "downloading", only=cameras[:1])
    world.succeed(only=cameras[1:])
    world.later(101)
    world.tick()
    (action,) = world.active()
    assert (action.state, action.cancel_requested_at is not None) == ("downloading", True)
    world.later(101)
    world.tick(3)
    assert world.states(rollout) == {"running": 1, "expired": 1}
    assert world.state(rollout) == "finished"


def test_a_rollout_whose_cameras_are_all_away_is_paused_before_the_next_phase(world):
    world.cameras(10)
    rollout = world.rollout(world.package(), phases=[{"percent": 20}, {"percent": 100}], deadline_s=100)
    world.tick()
    world.later(101)
    world.tick(3)
    assert world.state(rollout) == "paused"
    assert "none of its 2 cameras could be reached" in world.shown(rollout).reason
    world.do("resume", rollout)
    world.tick()
    assert world.phases(rollout) == ["done", "running"]


def test_of_equal_rollouts_the_second_waits_for_the_camera(world):
    world.cameras(2)
    first, second = world.rollout(world.package("a/1")), world.rollout(world.package("b/1"))
    world.tick()
    assert {each.rollout_id for each in world.active()} == {first}
    world.tick(3)
    assert world.states(second) == {"pending": 2}
    world.succeed()
    world.tick(2)
    assert {each.rollout_id for each in world.active()} == {second}
    assert world.run(second) == "finished"


def test_cameras_that_wait_do_not_hold_up_those_that_are_free(world):
    cameras = world.cameras(10)
    world.rollout(world.package("a/1"), cameras=cameras[:9])
    world.tick()
    second = world.rollout(world.package("b/1"), rate={"per_minute": 60})
    world.tick()
    assert [each.camera_id for each in world.active() if each.rollout_id == second] == [cameras[9]]


def test_a_higher_one_takes_a_camera_at_once_that_has_not_seen_the_lower_one(world):
    high = world.package("b/1")
    cameras = world.cameras(3)
    lower = world.rollout(world.package("a/1"), priority=10)
    world.tick()
    upper = world.rollout(high, priority=90)
    world.tick()
    assert {each.rollout_id for each in world.active()} == {upper}
    assert world.states(lower) == {"superseded": 3}
    (action, *_) = world.actions(lower)
    assert action.message == "rollout test of priority 90 takes the camera"
    assert world.run(upper) == "finished"
    world.tick(2)
    assert {world.camera(each).current_package_id for each in cameras} == {high.id}
    assert world.state(lower) == "finished"


def test_a_higher_one_waits_for_a_device_that_is_at_the_lower_one_to_stop(world):
    (camera,) = world.cameras(1)
    lower = world.rollout(world.package("a/1"), priority=10)
    world.tick()
    world.answer("offered", "downloading")
    upper = world.rollout(world.package("b/1"), priority=90)
    world.tick(3)
    (open_,) = world.active()
    assert (open_.rollout_id, open_.cancel_requested_at is not None) == (lower, True)
    assert world.states(upper) == {"pending": 1}
    world.cancelled()
    world.tick(2)
    (open_,) = world.active()
    assert (open_.rollout_id, open_.camera_id) == (upper, camera)


def test_a_lower_one_does_not_take_a_camera_from_a_higher_one(world):
    world.cameras(2)
    upper = world.rollout(world.package("a/1"), priority=90)
    world.tick()
    lower = world.rollout(world.package("b/1"), priority=10)
    world.tick(3)
    assert {each.rollout_id for each in world.active()} == {upper}
    assert world.states(lower) == {"pending": 2}


def test_a_camera_that_something_else_holds_is_not_waited_for_beyond_the_deadline(world):
    world.cameras(1)
    world.rollout(world.package("a/1"), deadline_s=10_000)
    world.tick()
    world.offer()
    second = world.rollout(world.package("b/1"), deadline_s=100)
    world.tick(2)
    world.later(101)
    world.tick(3)
    assert world.states(second) == {"expired": 1}
    assert world.state(second) == "finished"
    assert len(world.active()) == 1


def test_a_restore_is_not_taken_over(world):
    good, bad = world.package("a/1"), world.package("b/1")
    world.cameras(1, package=good)
    rollout = world.rollout(bad, priority=10)
    world.tick()
    world.succeed()
    world.do("rollback", rollout)
    world.tick()
    upper = world.rollout(world.package("c/1"), priority=100)
    world.tick(3)
    (open_,) = world.active()
    assert open_.kind == "restore"
    world.succeed()
    world.tick(2)
    assert {each.rollout_id for each in world.active()} == {upper}
