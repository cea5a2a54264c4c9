"""Registering cameras, finding, changing and forgetting them."""

import hashlib
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy import select

from services.fleet.cameras.loops import cancel_left_behind
from services.fleet.cameras.models import Camera, CameraLabel
from services.fleet.polling.models import Contact
from shared.contracts.rollouts import ActionState
from shared.kit.database import db_now

NOBODY = "01a20397-16a2-725e-8ae8-f32d8327209b"


def stored(fleet, camera):
    with fleet.services.sessions() as session:
        labels = session.execute(select(CameraLabel.key, CameraLabel.value).where(CameraLabel.camera_id == camera["id"]))
        return session.get_one(Camera, camera["id"]), dict(list(labels))


def see(fleet, camera, *, seconds_ago):
    with fleet.services.sessions.begin() as session:
        session.get_one(Contact, camera["id"]).seen_at = db_now(session) - timedelta(seconds=seconds_ago)


class TestRegistering:
    def test_the_token_is_shown_once_and_only_its_hash_is_kept(self, fleet):
        camera = fleet.register("front-door", labels={"site": "berlin"})
        row, labels = stored(fleet, camera)
        assert len(camera["token"]) == 43
        assert row.token_hash == hashlib.sha256(camera["token"].encode()).hexdigest()
        assert labels == camera["labels"] == {"site": "berlin"}
        shown = fleet.get(f"cameras/{camera['id']}").json()
        assert shown == {key: value for key, value in camera.items() if key != "token"}
        assert (shown["registered_by"], shown["last_seen"], shown["health"]) == ("a-operator", None, "unknown")

    def test_a_device_may_bring_its_own_token(self, fleet):
        token = "burnt-into-the-device-0001"
        assert fleet.register("a", token=token)["token"] == token

    def test_one_controller_id_is_one_camera(self, fleet):
        fleet.register("a")
        again = fleet.post("cameras", {"controller_id": "a"})
        assert (again.status_code, again.json()["type"]) == (409, "/problems/camera-exists")

    def test_a_repeated_request_makes_no_second_camera_and_keeps_no_secret(self, fleet):
        first = fleet.post("cameras", {"controller_id": "a"}, **{"Idempotency-Key": "k"})
        again = fleet.post("cameras", {"controller_id": "a"}, **{"Idempotency-Key": "k"})
        other = fleet.post("cameras", {"controller_id": "b"}, **{"Idempotency-Key": "k"})
        assert [first.status_code, again.status_code, other.status_code] == [201, 409, 409]
        assert again.json()["type"] == "/problems/token-already-shown"
        assert other.json()["type"] == "/problems/idempotency-conflict"
        assert fleet.found() == ["a"]

    def test_a_device_may_call_itself_almost_anything(self, fleet):
        for name in ("a/b/../c", "\U0001f4f7 front", "%2F", "a?b=c#d", "\u00e9" * 128):
            camera = fleet.register(name)
            assert fleet.found(controller_id=name) == [name]
            assert fleet.get(f"cameras/{camera['id']}").json()["controller_id"] == name

    def test_what_cannot_be_a_camera_is_refused(self, fleet):
        for body in (
            {"controller_id": ""},
            {"controller_id": " a"},
            {"controller_id": "a\tb"},
            {"controller_id": "x" * 129},
            {"controller_id": 7},
            {"controller_id": "a", "labels": {f"k{number}": "v" for number in range(33)}},
            {"controller_id": "a", "labels": {"k": "x" * 64}},
            {"controller_id": "a", "labels": {"k\n": "v"}},
            {"controller_id": "a", "labels": {"k": None}},
            {"controller_id": "a", "token": "short"},
            {"controller_id": "a", "token": "with blanks in the middle"},
            {"controller_id": "a", "format": "exe"},
            {"controller_id": "a", "unknown": 1},
            {},
            [],
        ):
            answer = fleet.post("cameras", body)
            assert (answer.status_code, answer.json()["title"]) == (422, "Invalid request"), answer.text
        assert fleet.found() == []

    def test_what_is_no_text_is_refused(self, fleet):
        headers = fleet.user | {"Content-Type": "application/json"}
        for content in (b'{"controller_id": "a\\u0000b"}', b'{"controller_id": "\\ud800"}', b"\xff", b"[" * 99):
            answer = fleet.http.post("/v1/fleet/cameras", content=content, headers=headers)
            assert answer.status_code in {400, 422}

    def test_only_operators_register_and_only_known_keys_read(self, fleet, viewer):
        assert fleet.http.post("/v1/fleet/cameras", json={"controller_id": "a"}, headers=viewer).status_code == 403
        assert fleet.http.get("/v1/fleet/cameras", headers=viewer).status_code == 200
        assert fleet.http.get("/v1/fleet/cameras").status_code == 401


class TestFinding:
    def test_lists_come_newest_first_and_in_pages(self, fleet):
        for name in "abc":
            fleet.register(name)
        first = fleet.get("cameras", limit=2).json()
        rest = fleet.get("cameras", limit=2, cursor=first["next_cursor"]).json()
        assert [item["controller_id"] for item in first["items"] + rest["items"]] == ["c", "b", "a"]
        assert rest["next_cursor"] is None

    def test_by_labels_and_by_group(self, fleet):
        fleet.register("a", labels={"site": "berlin", "gpu": ""})
        fleet.register("b", labels={"site": "paris"})
        fleet.register("c")
        assert fleet.found(selector="site in (berlin, paris),!gpu") == ["b"]
        assert fleet.found(selector="site!=berlin") == ["c", "b"]
        assert fleet.put("groups/berlin", {"selector": "site=berlin"}).status_code == 201
        assert fleet.found(group="berlin") == ["a"]
        assert fleet.found(group="berlin", selector="!gpu") == []
        assert fleet.get("cameras", group="nobody").json()["type"] == "/problems/group-not-found"

    def test_by_what_they_call_themselves(self, fleet):
        for name in ("cam-1", "Cam-2", "cam_3", "c%"):
            fleet.register(name)
        assert fleet.found(q="cam") == ["cam_3", "cam-1"]
        assert fleet.found(q="cam_") == ["cam_3"]
        assert fleet.found(q="c%") == ["c%"]
        assert fleet.found(controller_id="cam-1") == ["cam-1"]

    def test_by_what_they_run_and_how_they_are(self, fleet):
        a, b = fleet.register("a"), fleet.register("b")
        package = fleet.package("3")
        with fleet.services.sessions.begin() as session:
            session.get_one(Camera, a["id"]).current_package_id = package
            session.get_one(Camera, b["id"]).health = "bad"
        assert fleet.found(package="picosam2/3") == ["a"]
        assert fleet.found(package="picosam2/4") == []
        assert fleet.found(health="bad") == ["b"]
        assert fleet.get(f"cameras/{a['id']}").json()["current_package"] == "picosam2/3"

    def test_by_when_they_were_heard_of(self, fleet):
        a, b, _ = fleet.register("a"), fleet.register("b"), fleet.register("never")
        see(fleet, a, seconds_ago=10), see(fleet, b, seconds_ago=1000)
        assert fleet.found(unseen_s=100) == ["never", "b"]
        assert fleet.found(unseen_s=0) == ["never", "b", "a"]
        assert fleet.found(unseen_s=3e9) == ["never"]
        assert fleet.found(seen_before="2020-01-01T00:00:00Z") == ["never"]
        assert fleet.get(f"cameras/{a['id']}").json()["last_seen"] is not None

    def test_what_cannot_be_asked_is_refused(self, fleet):
        for params in (
            {"selector": "," * 1024},
            {"selector": "a=b,"},
            {"selector": "a\0"},
            {"selector": "x" * 1025},
            {"q": "\0"},
            {"controller_id": "\0"},
            {"cursor": "garbage"},
            {"cursor": "WyJcdWQ4MDAiXQ"},  # a lone surrogate
            {"cursor": "W251bGxd"},
            {"limit": 10**30},
            {"health": "fine"},
            {"package": "picosam2"},
            {"group": "NOT A NAME"},
            {"seen_before": "0001-01-01T00:00:00+14:00"},
            {"seen_before": "2020-01-01"},
            {"unseen_s": "nan"},
            {"unseen_s": -1},
        ):
            answer = fleet.get("cameras", **params)
            assert answer.status_code in {400, 422}, (params, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"

    def test_a_mistake_in_a_selector_is_named(self, fleet):
        (error,) = fleet.get("cameras", selector="site=berlin,,").json()["errors"]
        assert error["field"] == "query.selector"
        assert error["message"] == "at character 13: expected a label's key, found ','"

    def test_what_is_not_there_is_said(self, fleet):
        for method, path in itertools.product(["GET", "PATCH", "DELETE"], [NOBODY, "x", "%00", "%F0%9F%93%B7"]):
            answer = fleet.http.request(method, f"/v1/fleet/cameras/{path}", headers=fleet.user, json={})
            assert answer.status_code in {400, 404}, answer.text


class TestChanging:
    def test_labels_are_replaced_in_both_places(self, fleet):
        camera = fleet.register("a", labels={"site": "berlin", "old": "yes"})
        before = fleet.epoch(camera)
        changed = fleet.patch(f"cameras/{camera['id']}", {"labels": {"site": "paris"}}).json()
        row, labels = stored(fleet, camera)
        assert row.labels == labels == changed["labels"] == {"site": "paris"}
        assert (fleet.found(selector="old"), fleet.epoch(camera)) == ([], before + 1)

    def test_what_is_null_stays(self, fleet):
        camera = fleet.register("a", labels={"site": "berlin"})
        changed = fleet.patch(f"cameras/{camera['id']}", {"format": "swu"}).json()
        assert (changed["labels"], changed["format"]) == ({"site": "berlin"}, "swu")
        assert fleet.patch(f"cameras/{camera['id']}", {"labels": {}}).json()["labels"] == {}

    def test_a_change_is_told_with_who_did_it_and_no_change_is_not(self, fleet):
        camera = fleet.register("a", labels={"site": "berlin"})
        for _ in range(2):
            fleet.patch(f"cameras/{camera['id']}", {"labels": {"site": "paris"}, "format": "package"})
        registered, changed = fleet.events()
        assert (registered.type, registered.actor) == ("camera.registered", "a-operator")
        assert (changed.type, changed.actor, changed.camera_id) == ("camera.changed", "a-operator", camera["id"])
        assert changed.detail == {"labels": {"site": "paris"}, "labels_before": {"site": "berlin"}}

    def test_changes_at_once_leave_both_places_alike(self, fleet):
        camera = fleet.register("a")
        barrier = threading.Barrier(4)

        def change(number):
            barrier.wait()
            return fleet.patch(f"cameras/{camera['id']}", {"labels": {f"k{number}": "v", "same": str(number)}}).status_code

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(change, range(4))) == {200}
        row, labels = stored(fleet, camera)
        assert row.labels == labels
        assert len(labels) == 2

    def test_a_new_token_ends_the_old_one(self, fleet):
        camera = fleet.register("a")
        before = fleet.epoch(camera)
        renewed = fleet.post(f"cameras/{camera['id']}/token")
        row, _ = stored(fleet, camera)
        assert renewed.status_code == 201
        assert renewed.json()["token"] != camera["token"]
        assert row.token_hash == hashlib.sha256(renewed.json()["token"].encode()).hexdigest()
        assert fleet.epoch(camera) == before + 1
        assert all(camera["token"] not in str(event.detail) for event in fleet.events())

    def test_attributes_are_asked_for_again(self, fleet):
        camera = fleet.register("a")
        with fleet.services.sessions.begin() as session:
            session.get_one(Camera, camera["id"]).attributes_wanted = False
        assert fleet.post(f"cameras/{camera['id']}/attributes/refresh").status_code == 200
        assert stored(fleet, camera)[0].attributes_wanted


class TestForgetting:
    def test_a_deleted_camera_is_dead_at_once(self, fleet):
        camera = fleet.register("a", labels={"site": "berlin"})
        before = fleet.epoch(camera)
        assert fleet.delete(f"cameras/{camera['id']}").status_code == 204
        assert (fleet.found(), fleet.found(selector="site")) == ([], [])
        assert stored(fleet, camera)[0].token_hash is None
        assert fleet.epoch(camera) == before + 1
        shown = fleet.get(f"cameras/{camera['id']}").json()
        assert (shown["deleted_at"] is not None, shown["replaced_by"]) == (True, None)

    def test_its_open_actions_are_cancelled_and_others_stay(self, fleet):
        camera, other = fleet.register("a"), fleet.register("b")
        fleet.action(camera, active=True, state=ActionState.DOWNLOADING)
        fleet.action(camera), fleet.action(camera, state=ActionState.RUNNING), fleet.action(other)
        fleet.delete(f"cameras/{camera['id']}")
        assert [action.state for action in fleet.actions(camera)] == ["cancelled", "cancelled", "running"]
        assert [action.active for action in fleet.actions(camera)] == [False] * 3
        assert [action.state for action in fleet.actions(other)] == ["pending"]

    def test_its_controller_id_is_free_again(self, fleet):
        first = fleet.register("a")
        fleet.delete(f"cameras/{first['id']}")
        second = fleet.register("a")
        assert second["id"] != first["id"]
        for method, path in (("DELETE", ""), ("PATCH", ""), ("POST", "/token"), ("POST", "/attributes/refresh")):
            answer = fleet.http.request(method, f"/v1/fleet/cameras/{first['id']}{path}", headers=fleet.user, json={})
            assert answer.status_code == 404, path

    def test_what_a_rollout_reached_for_meanwhile_is_cancelled_soon(self, fleet):
        camera = fleet.register("a")
        fleet.delete(f"cameras/{camera['id']}")
        fleet.action(camera, active=True, state=ActionState.OFFERED)
        cancel_left_behind(fleet.services)
        assert [(action.state, action.active) for action in fleet.actions(camera)] == [("cancelled", False)]


def test_what_it_is_at_is_shown(fleet):
    camera = fleet.register("a")
    rollout = fleet.rollout()
    fleet.action(camera)
    action = fleet.action(camera, rollout, active=True)
    shown = fleet.get(f"cameras/{camera['id']}").json()
    assert (shown["action"], shown["rollout"]) == (action, rollout)
