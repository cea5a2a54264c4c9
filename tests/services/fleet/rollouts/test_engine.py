"""Rollouts from beginning to end, with devices that are played by direct moves."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import event, select

from services.fleet.cameras.models import Camera, Group
from services.fleet.events.models import Event
from services.fleet.packages.models import Package
from services.fleet.rollouts import engine, repository
from services.fleet.rollouts.models import Rollout


def test_a_rollout_brings_the_package_to_every_camera_phase_by_phase(world):
    package = world.package()
    world.cameras(20)
    rollout = world.rollout(package, phases=[{"percent": 5}, {"percent": 25}, {"percent": 100}])
    seen = []
    for _ in range(12):
        world.tick()
        seen.append(world.succeed())
    assert [count for count in seen if count] == [1, 4, 15]
    shown = world.shown(rollout)
    assert (shown.state, shown.reason) == ("finished", "20 of 20 cameras run the package")
    assert shown.counts == {"running": 20}
    assert world.good() == {package.id: 20}


def test_a_tick_with_nothing_changed_does_nothing(world):
    package = world.package()
    world.cameras(10)
    rollout = world.rollout(package, phases=[{"percent": 50}, {"percent": 100}])
    world.tick(3)
    before = (world.shown(rollout), [(each.id, each.state, each.active) for each in world.actions()])
    world.tick(5)
    assert (world.shown(rollout), [(each.id, each.state, each.active) for each in world.actions()]) == before


def test_a_rollout_that_is_over_is_not_looked_at_any_more(world):
    world.cameras(2)
    rollout = world.rollout(world.package())
    assert world.run(rollout) == "finished"
    world.tick()
    with world.services.sessions() as session:
        assert repository.due(session) == []
        assert session.get(Rollout, rollout).next_tick_at == repository.NEVER


def test_a_rollout_without_cameras_is_finished_at_once(world):
    rollout = world.rollout(world.package(), selector="site=nowhere")
    assert world.run(rollout) == "finished"
    assert world.shown(rollout).reason == "0 of 0 cameras run the package"


def test_cameras_that_run_the_package_already_have_succeeded_untouched(world):
    package = world.package()
    there, elsewhere = world.cameras(3, package=package), world.cameras(2)
    rollout = world.rollout(package)
    world.tick()
    assert world.shown(rollout).counts == {"running": 3, "pending": 2}
    (action,) = world.actions(rollout, camera_id=there[0])
    assert (action.message, action.released_at) == ("runs the package already", None)
    assert world.history(action.id) == [("running", "runs the package already")]
    assert {each.camera_id for each in world.active()} == set(elsewhere)
    assert world.run(rollout) == "finished"


def test_a_phase_waits_for_approval(world):
    world.cameras(4)
    rollout = world.rollout(world.package(), phases=[{"percent": 25}, {"percent": 100, "approval": True}])
    for _ in range(5):
        world.tick()
        world.succeed()
    assert world.phases(rollout) == ["done", "waiting_for_approval"]
    assert world.shown(rollout).reason == "phase 2 waits for approval"
    world.do("approve", rollout)
    assert world.run(rollout) == "finished"


def test_the_soak_is_waited_for(world):
    world.cameras(4)
    rollout = world.rollout(world.package(), phases=[{"percent": 50, "soak_s": 100}, {"percent": 100}])
    world.tick()
    world.succeed()
    world.tick(3)
    assert world.phases(rollout) == ["soaking", "waiting"]
    assert world.good() == {None: 4}
    world.later(101)
    world.tick()
    assert world.phases(rollout) == ["done", "running"]
    world.tick()
    assert set(world.good().values()) == {2}


def test_cameras_that_succeed_late_are_good_once_they_have_soaked(world):
    package = world.package()
    world.cameras(4)
    rollout = world.rollout(package, phases=[{"percent": 100, "soak_s": 50, "success_percent": 50}])
    world.tick()
    early, late = world.active()[:2], world.active()[2:]
    world.succeed(only={each.camera_id for each in early})
    world.tick()
    world.later(51)
    world.tick(3)
    assert world.state(rollout) == "finished"
    world.succeed(only={each.camera_id for each in late})
    world.change(Rollout, rollout, next_tick_at=world.now())
    world.tick()
    assert world.good() == {package.id: 2, None: 2}
    world.later(51)
    world.change(Rollout, rollout, next_tick_at=world.now())
    world.tick()
    assert world.good() == {package.id: 4}


def test_the_rate_limit_lets_in_a_few_at_a_time(world):
    world.cameras(30)
    rollout = world.rollout(world.package(), rate={"per_minute": 60})
    world.tick()
    assert len(world.active()) == 1
    let = world.shown(rollout)
    assert let.counts == {"pending": 30}
    world.tick()
    assert len(world.active()) == 1


def test_no_transaction_changes_more_actions_than_it_may(world, alone):
    most = 7
    object.__setattr__(alone, "settings", alone.settings.model_copy(update={"tick_rows": most}))
    world.cameras(40)
    rollout = world.rollout(world.package())
    written = []

    @event.listens_for(alone.engine, "after_cursor_execute")
    def count(connection, cursor, statement, parameters, context, many):
        if statement.startswith(("INSERT INTO actions", "UPDATE actions")):
            written.append(cursor.rowcount)

    world.tick()
    event.remove(alone.engine, "after_cursor_execute", count)
    assert len(world.active()) == 40
    assert max(written) == most
    assert sum(written) == 80
    assert world.run(rollout) == "finished"


def test_cameras_that_come_late_take_part(world):
    package = world.package()
    world.cameras(10, labels={"site": "berlin"})
    rollout = world.rollout(package, phases=[{"percent": 50}, {"percent": 100}], selector="site=berlin")
    world.tick()
    world.succeed()
    late = world.cameras(10, labels={"site": "berlin"}) + world.cameras(5, labels={"site": "paris"})
    world.tick(15)
    assert world.shown(rollout).cameras == 20
    assert world.run(rollout) == "finished"
    assert {world.camera(each).last_good_package_id for each in late[:10]} == {package.id}
    assert {world.camera(each).last_good_package_id for each in late[10:]} == {None}


def test_cameras_that_come_late_stay_out_where_that_is_asked_for(world):
    world.cameras(3)
    rollout = world.rollout(world.package(), late_joiners=False)
    world.tick()
    world.cameras(3)
    world.tick(15)
    assert world.shown(rollout).cameras == 3


def test_places_of_others_do_not_move_when_cameras_come(world):
    world.cameras(20)
    rollout = world.rollout(world.package(), phases=[{"percent": 25}, {"percent": 100}])
    world.tick()
    before = {each.camera_id: each.phase for each in world.actions(rollout)}
    world.cameras(30)
    world.tick(15)
    after = {each.camera_id: each.phase for each in world.actions(rollout)}
    assert before.items() <= after.items()
    assert len(after) == 50


def test_who_replaces_a_camera_has_its_place(world):
    package = world.package()
    named = world.cameras(3)
    rollout = world.rollout(package, cameras=named, phases=[{"count": 1}, {"count": 3}])
    world.tick()
    (canary,) = world.active()
    (successor,) = world.cameras(1)
    world.change(Camera, canary.camera_id, deleted_at=world.now(), replaced_by_id=successor)
    world.tick(15)
    (old,) = world.actions(rollout, camera_id=canary.camera_id)
    (new,) = world.actions(rollout, camera_id=successor)
    assert (old.state, old.message) == ("superseded", "the camera is there no more")
    assert (new.phase, new.rank, new.active) == (1, canary.rank, True)
    assert world.run(rollout) == "finished"


def test_cameras_that_are_deleted_are_not_waited_for(world):
    ids = world.cameras(3)
    rollout = world.rollout(world.package())
    world.tick()
    world.succeed(only=ids[:2])
    world.change(Camera, ids[2], deleted_at=world.now())
    world.tick(15)
    assert world.state(rollout) == "finished"


def test_a_package_that_is_deleted_on_the_way_stops_the_rollout(world):
    package = world.package()
    world.cameras(3)
    rollout = world.rollout(package, phases=[{"count": 1}, {"count": 3}])
    world.tick()
    world.change(Package, package.id, deleted_at=world.now())
    world.succeed()
    world.tick()
    assert (world.state(rollout), world.shown(rollout).reason) == ("paused", "the package picosam2/1 was deleted")


def test_a_group_that_changes_does_not_widen_a_rollout(world):
    with world.services.sessions.begin() as session:
        session.add(Group(name="berlin", selector="site=berlin", description="", time_zone="UTC", maintenance=[]))
    world.cameras(2, labels={"site": "berlin"})
    world.cameras(2, labels={"site": "paris"})
    rollout = world.rollout(world.package(), group="berlin")
    with world.services.sessions.begin() as session:
        session.get(Group, "berlin").selector = ""
    assert world.run(rollout) == "finished"
    assert world.shown(rollout).cameras == 2


def test_a_rollout_in_trouble_does_not_hold_up_the_others(world):
    world.cameras(2)
    broken = world.rollout(world.package("a/1"), priority=90)
    world.change(Rollout, broken, spec={"nonsense": True})
    rollout = world.rollout(world.package("b/1"), priority=10)
    assert world.run(rollout) == "finished"


def test_two_engines_at_once_offer_nothing_twice(world):
    world.cameras(60)
    rollout = world.rollout(world.package())
    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            list(pool.map(lambda _: engine.tick(world.services), range(3)))
    assert world.shown(rollout).cameras == 60
    assert len({each.camera_id for each in world.actions(rollout)}) == 60
    assert len(world.active()) == 60
    assert world.run(rollout) == "finished"


def test_events_tell_the_story(world):
    world.cameras(2)
    rollout = world.rollout(world.package())
    world.run(rollout)
    with world.services.sessions() as session:
        rows = session.execute(select(Event.type, Event.actor).where(Event.rollout_id == rollout).order_by(Event.seq)).all()
    assert [tuple(row) for row in rows] == [
        ("rollout.created", "someone"),
        ("rollout.started", "someone"),
        ("phase.running", None),
        ("phase.soaking", None),
        ("phase.done", None),
        ("rollout.finished", None),
    ]


def test_the_cameras_of_a_rollout_add_up_at_any_time(world):
    world.cameras(25)
    rollout = world.rollout(world.package(), phases=[{"percent": 10}, {"percent": 100}], on_failure="pause")
    plays = [world.succeed, world.offer, lambda: world.answer("offered", "downloading"), world.fail]
    for turn in range(12):
        world.tick()
        shown = world.shown(rollout)
        assert sum(shown.counts.values()) == shown.cameras == 25
        assert [sum(phase.counts.values()) for phase in shown.phases] == [phase.cameras for phase in shown.phases] == [3, 22]
        plays[turn % len(plays)]()
