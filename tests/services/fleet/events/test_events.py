"""The list of events, and what is forgotten of it."""

from datetime import timedelta

from services.fleet.events.loops import forget_events
from services.fleet.events.models import Event
from shared.kit.database import db_now
from shared.kit.idempotency import StoredAnswer, forget_answers
from tests.services.fleet.events.conftest import ADA


def listed(client, headers, **params):
    answer = client.get("/v1/fleet/events", headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    return [item["type"] for item in answer.json()["items"]]


def test_events_are_listed_newest_first_and_in_pages(client, viewer, tell):
    for number in range(5):
        tell(f"a.b{number}")
    first = client.get("/v1/fleet/events", headers=viewer, params={"limit": 3}).json()
    assert [item["type"] for item in first["items"]] == ["a.b4", "a.b3", "a.b2"]
    assert listed(client, viewer, limit=3, cursor=first["next_cursor"]) == ["a.b1", "a.b0"]


def test_they_are_found_by_what_they_are_about(client, viewer, tell):
    tell("rollout.started", actor=ADA, rollout_id="r1", reason="why not")
    tell("rollout.finished", rollout_id="r1")
    tell("camera.registered", actor=ADA, camera_id="c1")
    tell("camera.Registered", camera_id="c2")
    assert listed(client, viewer, rollout="r1") == ["rollout.finished", "rollout.started"]
    assert listed(client, viewer, camera="c1") == ["camera.registered"]
    assert listed(client, viewer, type="rollout.") == ["rollout.finished", "rollout.started"]
    assert listed(client, viewer, type="camera.r") == ["camera.registered"]
    assert listed(client, viewer, audit=True) == ["camera.registered", "rollout.started"]
    assert listed(client, viewer, type="%") == listed(client, viewer, rollout="r2") == []
    (started,) = client.get("/v1/fleet/events", headers=viewer, params={"type": "rollout.s"}).json()["items"]
    assert (started["actor"], started["detail"], started["camera"]) == ("ada", {"reason": "why not"}, None)


def test_what_cannot_be_asked_is_refused(client, viewer):
    for params in (
        {"cursor": "garbage"},
        {"cursor": "WyJhIl0"},  # ["a"]
        {"cursor": "Wy0xXQ"},  # [-1]
        {"cursor": "WzEwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMF0"},
        {"type": "\0"},
        {"rollout": "x" * 37},
        {"audit": "perhaps"},
    ):
        answer = client.get("/v1/fleet/events", headers=viewer, params=params)
        assert answer.status_code in {400, 422}, (params, answer.text)
    for last in ("-1", "x", str(2**64)):
        answer = client.get("/v1/fleet/events/stream", headers=viewer | {"Last-Event-ID": last})
        assert answer.status_code == 422
    assert client.get("/v1/fleet/events/stream").status_code == 401


class TestForgetting:
    def test_old_events_go_but_what_somebody_did_stays(self, client, viewer, services, put):
        old = services.settings.events_kept_s + 60
        put(1, seconds_ago=old), put(2, seconds_ago=old, actor="ada"), put(3, seconds_ago=old - 120), put(4, seconds_ago=old)
        put(5)
        forget_events(services)
        items = client.get("/v1/fleet/events", headers=viewer).json()["items"]
        assert [item["seq"] for item in items] == [5, 3, 2]

    def test_the_last_number_is_never_given_again(self, services, put):
        put(7, seconds_ago=services.settings.events_kept_s + 60)
        forget_events(services)
        with services.sessions() as session:
            assert [event.seq for event in session.query(Event)] == [7]

    def test_answers_are_forgotten_after_a_day(self, services):
        with services.sessions.begin() as session:
            now = db_now(session)
            for hours in (1, 25):
                row = {"holder": "h", "route": "r", "key_hash": str(hours), "body_hash": "b", "status": 201, "answer": "{}"}
                session.add(StoredAnswer(**row, created_at=now - timedelta(hours=hours)))
        forget_answers(services)
        with services.sessions() as session:
            assert [answer.key_hash for answer in session.query(StoredAnswer)] == ["1"]
