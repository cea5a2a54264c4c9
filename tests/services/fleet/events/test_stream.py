"""Events as they happen: in order, none twice, none missed."""

import time

import httpx
import pytest

from services.fleet.events import feed
from services.fleet.events.record import record


def test_events_come_as_they_happen(following, tell):
    tell("before")
    with following() as reader:
        tell("one", camera_id="c", some="thing"), tell("two")
        assert reader.types(2) == ["one", "two"]
    event = reader.seen[0]
    assert (event["name"], event["camera"], event["detail"]) == ("one", "c", {"some": "thing"})
    assert event["id"] == str(event["seq"])


def test_who_comes_back_has_missed_nothing(following, tell):
    with following() as reader:
        tell("one")
        reader.types(1)
    tell("two"), tell("three")
    with following(after=reader.seen[-1]["seq"]) as again:
        assert again.types(2) == ["two", "three"]
        tell("four")
        assert again.types(3) == ["two", "three", "four"]


def test_all_that_is_kept_can_be_read(following, tell, monkeypatch):
    monkeypatch.setattr(feed, "BATCH", 4)
    monkeypatch.setattr(feed, "_KEPT", 3)
    wanted = [f"event.{number}" for number in range(30)]
    for type_ in wanted[:20]:
        tell(type_)
    with following(after=0) as reader, following(after=0) as other:
        for type_ in wanted[20:]:
            tell(type_)
        assert reader.types(30) == other.types(30) == wanted


def test_only_what_is_wanted_comes(following, tell):
    with following(type="rollout.", rollout="r1") as reader:
        tell("camera.x", rollout_id="r1"), tell("rollout.x", rollout_id="r2"), tell("rollout.y", rollout_id="r1")
        assert reader.types(1) == ["rollout.y"]


def test_nothing_goes_past_a_number_that_is_still_to_come(following, put, tell):
    put(1)
    with following(after=0) as reader:
        reader.types(1)
        put(3)
        time.sleep(3 * feed.POLL_S)
        assert len(reader.seen) == 1
        put(2)
        reader.types(3)
        assert [event["seq"] for event in reader.seen] == [1, 2, 3]


def test_a_number_that_never_comes_is_not_waited_for_long(following, put):
    put(1, seconds_ago=60), put(3, seconds_ago=30), put(5, seconds_ago=3.5)
    with following(after=0) as reader:
        reader.types(2)
        assert [event["seq"] for event in reader.seen] == [1, 3]
        reader.types(3)
        assert [event["seq"] for event in reader.seen] == [1, 3, 5]


def test_what_commits_late_still_comes(following, services, tell, databases):
    if databases.cluster is None:
        pytest.skip("SQLite has one writer at a time")
    with following() as reader, services.sessions() as slow:
        record(slow, "early")
        slow.flush()
        tell("late")
        time.sleep(2 * feed.POLL_S)
        slow.commit()
        assert reader.types(2) == ["early", "late"]


def test_nobody_listens_and_nothing_is_read(following, services, tell):
    with following() as reader:
        tell("one")
        reader.types(1)
        assert services.feed._poller is not None
    give_up = time.monotonic() + 10
    while services.feed._poller is not None and time.monotonic() < give_up:
        time.sleep(0.05)
    assert services.feed._poller is None


def test_the_database_may_be_away_for_a_while(following, tell, monkeypatch):
    with following() as reader:
        tell("one")
        reader.types(1)
        settled = feed.settled

        def away(*_):
            raise httpx.ConnectError("away")

        monkeypatch.setattr(feed, "settled", away)
        tell("two")
        time.sleep(2 * feed.POLL_S)
        monkeypatch.setattr(feed, "settled", settled)
        assert reader.types(2) == ["one", "two"]
