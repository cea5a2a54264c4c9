"""Rollouts as their users meet them."""

import pytest
from sqlalchemy import select

from services.fleet.events.models import Event
from tests.services.fleet.rollouts.conftest import World

ROOT = "/v1/fleet/rollouts"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"tick_s": 0.001})


@pytest.fixture
def world(services):
    """On the running app."""
    return World(services)


@pytest.fixture
def rest(client, operator):
    """Asks as an operator; the answer's body."""

    def ask(method, path="", expected=200, **arguments):
        headers = operator | arguments.pop("headers", {})
        answer = client.request(method, f"{ROOT}{path}", headers=headers, **arguments)
        assert answer.status_code == expected, answer.text
        return answer.json() if answer.content else None

    return ask


def a_body(**values):
    return {"name": "test", "package": "picosam2/1", "selector": ""} | values


def test_a_rollout_from_draft_to_end(world, rest):
    world.package()
    cameras = world.cameras(10)
    made = rest("POST", json=a_body(phases=[{"percent": 20, "soak_s": 0}, {"percent": 100, "soak_s": 0}]), expected=201)
    assert (made["state"], made["package"], made["created_by"], made["cameras"]) == ("draft", "picosam2/1", "a-operator", 0)
    preview = rest("GET", f"/{made['id']}/preview")
    assert (preview["cameras"], preview["already"], preview["busy"]) == (10, 0, 0)
    assert [phase["cameras"] for phase in preview["phases"]] == [2, 8]
    assert rest("POST", f"/{made['id']}/start")["state"] == "running"
    world.tick()
    first = {each.camera_id for each in world.active()}
    assert {f"cam-{each}" for each in first} == set(preview["phases"][0]["examples"])
    assert world.run(made["id"]) == "finished"
    shown = rest("GET", f"/{made['id']}")
    assert (shown["counts"], [phase["state"] for phase in shown["phases"]]) == ({"running": 10}, ["done", "done"])
    assert len(cameras) == shown["cameras"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"package": "picosam2/9"}, "body.package"),
        ({"selector": "a=("}, "body.selector"),
        ({"selector": None, "group": "nowhere"}, "body.group"),
        ({"selector": None, "cameras": ["nobody"]}, "body.cameras.0"),
    ],
)
def test_what_names_nothing_is_named(rest, world, change, field):
    world.package()
    problem = rest("POST", json=a_body(**change), expected=422)
    assert [error["field"] for error in problem["errors"]] == [field]
    assert rest("GET")["items"] == []


@pytest.mark.parametrize(
    "change",
    [
        {"group": "both"},
        {"phases": []},
        {"phases": [{"percent": 50}, {"percent": 20}]},
        {"phases": [{"percent": 0}]},
        {"phases": [{"percent": 50, "count": 5}]},
        {"priority": 101},
        {"approval": True, "start": True},
        {"unknown": 1},
        {"package": "no-release"},
        {"name": "Über"},
    ],
)
def test_bodies_that_make_no_sense_are_refused(rest, change):
    assert rest("POST", json=a_body(**change), expected=422)["errors"]


def test_a_repeated_creation_makes_one(world, rest):
    world.package()
    key = {"Idempotency-Key": "the same"}
    first, again = (rest("POST", json=a_body(), headers=key, expected=201) for _ in range(2))
    assert first == again
    assert len(rest("GET")["items"]) == 1


def test_a_deed_in_the_wrong_state_says_what_is_possible(world, rest):
    world.package()
    draft = rest("POST", json=a_body(), expected=201)["id"]
    for deed in ("pause", "resume", "abort", "approve", "retry", "rollback"):
        problem = rest("POST", f"/{draft}/{deed}", json={}, expected=409)
        assert (problem["type"], problem["state"]) == ("/problems/rollout-elsewhere", "draft")
        assert problem["possible"] == ["start", "delete", "clone"]
    rest("POST", f"/{draft}/start")
    problem = rest("POST", f"/{draft}/start", expected=409)
    assert problem["hint"] == "possible now: approve, pause, abort, retry, rollback, clone"
    rest("DELETE", f"/{draft}", expected=409)


def test_deeds_may_have_a_reason_and_are_recorded(world, rest):
    world.package()
    world.cameras(1)
    rollout = rest("POST", json=a_body(start=True), expected=201)["id"]
    assert rest("POST", f"/{rollout}/pause", json={"reason": "lunch"})["reason"] == "lunch"
    assert rest("POST", f"/{rollout}/resume")["state"] == "running"
    assert rest("POST", f"/{rollout}/abort", json={"reason": "enough"})["state"] == "aborted"
    assert rest("POST", f"/{rollout}/rollback", json={})["reason"] == "rolled back by a-operator"
    with world.services.sessions() as session:
        rows = session.execute(select(Event.type, Event.actor, Event.detail).order_by(Event.seq)).all()
    told = [(row.type, row.actor, row.detail.get("reason", "")) for row in rows if row.type.startswith("rollout")]
    assert told == [
        ("rollout.created", "a-operator", ""),
        ("rollout.started", "a-operator", ""),
        ("rollout.paused", "a-operator", "lunch"),
        ("rollout.resumed", "a-operator", ""),
        ("rollout.aborted", "a-operator", "enough"),
        ("rollout.rolling_back", "a-operator", ""),
    ]


def test_a_rollout_that_needs_approval_waits_for_it(world, rest):
    world.package()
    world.cameras(1)
    rollout = rest("POST", json=a_body(approval=True), expected=201)["id"]
    assert rest("POST", f"/{rollout}/start")["state"] == "waiting_for_approval"
    world.tick()
    assert not world.actions()
    assert rest("POST", f"/{rollout}/approve")["state"] == "running"
    assert rest("POST", f"/{rollout}/approve", expected=409)["state"] == "running"


def test_a_draft_can_be_deleted_and_cloned(world, rest):
    world.package()
    world.package("picosam2/2")
    draft = rest("POST", json=a_body(priority=7), expected=201)["id"]
    clone = rest("POST", f"/{draft}/clone", json={"name": "again", "package": "picosam2/2"}, expected=201)
    assert (clone["name"], clone["package"], clone["spec"]["priority"], clone["state"]) == ("again", "picosam2/2", 7, "draft")
    assert clone["spec"]["package"] == "picosam2/2"
    rest("DELETE", f"/{draft}", expected=204)
    rest("GET", f"/{draft}", expected=404)
    rest("POST", f"/{clone['id']}/clone", json={"name": "third", "package": "picosam2/9"}, expected=422)


def test_lists_are_filtered_and_paged(world, rest):
    world.package()
    world.package("picosam2/2")
    ids = [rest("POST", json=a_body(name=f"r{number}"), expected=201)["id"] for number in range(3)]
    rest("POST", f"/{ids[0]}/start")
    other = rest("POST", json=a_body(package="picosam2/2"), expected=201)["id"]
    assert [each["id"] for each in rest("GET", params={"state": "running"})["items"]] == [ids[0]]
    assert [each["id"] for each in rest("GET", params={"package": "picosam2/2"})["items"]] == [other]
    page = rest("GET", params={"limit": 2})
    rest_of_it = rest("GET", params={"limit": 2, "cursor": page["next_cursor"]})
    assert [each["id"] for each in page["items"] + rest_of_it["items"]] == [other, *reversed(ids)]
    rest("GET", params={"state": "nonsense"}, expected=422)


def test_actions_of_a_rollout_are_filtered_and_paged(world, rest):
    world.package()
    world.cameras(5)
    rollout = rest("POST", json=a_body(start=True, phases=[{"count": 2}, {"count": 5}]), expected=201)["id"]
    world.tick()
    world.offer()
    offered = rest("GET", f"/{rollout}/actions", params={"state": "offered"})["items"]
    assert {(each["phase"], each["package"], each["state"]) for each in offered} == {(1, "picosam2/1", "offered")}
    assert len(rest("GET", f"/{rollout}/actions", params={"phase": 2})["items"]) == 3
    page = rest("GET", f"/{rollout}/actions", params={"limit": 4})
    assert len(rest("GET", f"/{rollout}/actions", params={"limit": 4, "cursor": page["next_cursor"]})["items"]) == 1
    rest("GET", "/nobody/actions", expected=404)


def test_viewers_read_and_only_operators_write(client, viewer, operator, world):
    world.package()
    assert client.get(ROOT).status_code == 401
    assert client.post(ROOT, json=a_body(), headers=viewer).status_code == 403
    made = client.post(ROOT, json=a_body(), headers=operator).json()["id"]
    for path in (ROOT, f"{ROOT}/{made}", f"{ROOT}/{made}/preview", f"{ROOT}/{made}/actions"):
        assert client.get(path, headers=viewer).status_code == 200
    for deed in ("start", "approve", "pause", "resume", "abort", "rollback", "retry", "clone"):
        assert client.post(f"{ROOT}/{made}/{deed}", json={"name": "x"}, headers=viewer).status_code == 403
