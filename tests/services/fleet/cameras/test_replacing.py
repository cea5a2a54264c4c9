"""A camera that takes another's place."""

import threading
from concurrent.futures import ThreadPoolExecutor

from shared.contracts.rollouts import ActionKind, ActionState, RolloutState


def replace(fleet, camera, successor):
    return fleet.post(f"cameras/{camera['id']}/replace", {"successor": successor["id"]})


def standing(fleet, camera):
    return [(action.rollout_id, action.phase, action.state) for action in fleet.actions(camera)]


def test_labels_and_groups_pass_on_and_the_old_one_is_dead(fleet):
    old, new = fleet.register("old", labels={"site": "berlin"}), fleet.register("new", labels={"site": "paris"})
    before = fleet.epoch(old), fleet.epoch(new)
    answer = replace(fleet, old, new)
    assert (answer.status_code, answer.json()["id"], answer.json()["labels"]) == (200, new["id"], {"site": "berlin"})
    assert fleet.found(selector="site=berlin") == ["new"]
    assert fleet.get(f"cameras/{old['id']}").json()["replaced_by"] == new["id"]
    assert all(fleet.epoch(camera) > was for camera, was in zip((old, new), before, strict=True))
    assert fleet.delete(f"cameras/{old['id']}").status_code == 404


def test_its_part_in_rollouts_passes_on(fleet):
    old, new = fleet.register("old"), fleet.register("new")
    running, paused, over = fleet.rollout(), fleet.rollout(RolloutState.PAUSED), fleet.rollout(RolloutState.ROLLING_BACK)
    fleet.action(old, running, active=True, state=ActionState.DOWNLOADING, phase=1, rank=99, priority=70)
    fleet.action(old, paused), fleet.action(old, over), fleet.action(old), fleet.action(old, running, state=ActionState.FAILED)
    replace(fleet, old, new)
    assert standing(fleet, old) == [
        (running, None, "superseded"),
        (paused, None, "superseded"),
        (over, 2, "superseded"),
        (None, 2, "superseded"),
        (running, 2, "failed"),
    ]
    assert standing(fleet, new) == [(running, 1, "pending"), (paused, 2, "pending")]
    first = fleet.actions(new)[0]
    assert (first.rank, first.priority, first.active, first.released_at) == (99, 70, False, None)
    assert first.package_id == fleet.actions(old)[0].package_id


def test_it_takes_no_second_part_and_no_return(fleet):
    old, new = fleet.register("old"), fleet.register("new")
    rollout, other = fleet.rollout(), fleet.rollout()
    fleet.action(old, rollout), fleet.action(new, rollout, phase=3)
    fleet.action(old, other, kind=ActionKind.RESTORE)
    assert replace(fleet, old, new).status_code == 200
    assert standing(fleet, new) == [(rollout, 3, "pending")]
    assert [state for _, _, state in standing(fleet, old)] == ["superseded"] * 2


def test_who_cannot_take_the_place_is_told_and_nothing_is_done(fleet):
    old, busy, gone, done = (fleet.register(name, labels={"name": name}) for name in ("old", "busy", "gone", "done"))
    fleet.action(old, rollout := fleet.rollout()), fleet.action(busy, active=True)
    fleet.delete(f"cameras/{gone['id']}")
    assert replace(fleet, done, fleet.register("new")).status_code == 200
    refused = {"/problems/replacement-refused"}
    assert {replace(fleet, old, each).json()["type"] for each in (busy, gone, done)} == refused
    for unknown in (old["id"], "nobody"):
        answer = fleet.post(f"cameras/{old['id']}/replace", {"successor": unknown})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.successor")
    assert fleet.post("cameras/nobody/replace", {"successor": busy["id"]}).status_code == 404
    assert standing(fleet, old) == [(rollout, 2, "pending")]
    assert fleet.found(selector="name=busy") == ["busy"]


def test_the_same_request_twice_is_answered_the_same(fleet):
    old, new = fleet.register("old"), fleet.register("new")
    answers = [fleet.post(f"cameras/{old['id']}/replace", {"successor": new["id"]}, **{"Idempotency-Key": "k"}) for _ in "12"]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content


def test_both_cameras_stories_tell_of_it(fleet):
    old, new = fleet.register("old"), fleet.register("new")
    replace(fleet, old, new)
    told = [(event.type, event.camera_id, event.actor) for event in fleet.events()[2:]]
    assert told == [("camera.replaced", old["id"], "a-operator"), ("camera.took_over", new["id"], "a-operator")]


def test_of_two_that_want_its_place_one_gets_it(fleet):
    old, *others = (fleet.register(name, labels={"name": name}) for name in ("old", "b", "c", "d"))
    fleet.action(old, rollout := fleet.rollout())
    barrier = threading.Barrier(len(others))

    def take(other):
        barrier.wait()
        return replace(fleet, old, other).status_code

    with ThreadPoolExecutor(len(others)) as pool:
        assert sorted(pool.map(take, others)) == [200, 404, 404]
    assert len(fleet.found(selector="name=old")) == 1
    assert [place for other in others for place in standing(fleet, other)] == [(rollout, 2, "pending")]
