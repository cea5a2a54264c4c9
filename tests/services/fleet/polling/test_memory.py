"""What a replica remembers, and when it forgets."""

import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fleet.polling import memory
from services.fleet.polling.epochs import BUCKETS
from services.fleet.polling.memory import PollMemory

CAMERA = "01890000-0000-7000-8000-000000000005"
"""In bucket 5."""

KEY = b"TargetToken a"


def epochs(**buckets: int) -> list[int]:
    return [buckets.get(f"b{number}", 0) for number in range(BUCKETS)]


def put(polls: PollMemory, **overrides: Any) -> None:
    told: dict[str, Any] = {"etag": b'"e"', "body": b"{}", "generations": polls.generations(), "keep_s": 60}
    polls.put("cam", CAMERA, KEY, "http://fleet", **(told | overrides))


def knows(polls: PollMemory) -> bool:
    return polls.recall("cam", KEY, "http://fleet") is not None


@pytest.fixture
def polls() -> PollMemory:
    made = PollMemory()
    made.look(epochs())
    return made


def test_an_answer_is_for_the_same_device_key_and_address(polls: PollMemory) -> None:
    put(polls)
    assert knows(polls)
    assert polls.recall("cam", b"TargetToken b", "http://fleet") is None
    assert polls.recall("cam", KEY, "http://elsewhere") is None
    assert polls.recall("other", KEY, "http://fleet") is None


def test_another_epoch_forgets_its_bucket_alone(polls: PollMemory) -> None:
    put(polls)
    assert polls.look(epochs(b4=1, b6=1)) == 2
    assert knows(polls)
    assert polls.look(epochs(b4=1, b5=1, b6=1)) == 1
    assert not knows(polls)


def test_what_was_read_before_a_change_was_seen_does_not_count(polls: PollMemory) -> None:
    before = polls.generations()
    polls.look(epochs(b5=1))
    put(polls, generations=before)
    assert not knows(polls)
    put(polls)
    assert knows(polls)


def test_epochs_that_come_back_revive_nothing(polls: PollMemory) -> None:
    polls.look(epochs(b5=7))
    put(polls)
    polls.look(epochs(b5=3))  # the database was restored
    polls.look(epochs(b5=7))
    assert not knows(polls)


def test_nothing_counts_where_nobody_looks(polls: PollMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    never = PollMemory()
    put(never)
    assert not knows(never)
    put(polls, keep_s=10**6)
    late = time.monotonic() + memory.TRUSTED_S + 1
    monkeypatch.setattr(time, "monotonic", lambda: late)
    assert not knows(polls)
    polls.look(epochs())
    assert knows(polls)


def test_an_answer_has_an_end(polls: PollMemory) -> None:
    put(polls, keep_s=0)
    time.sleep(0.01)
    assert not knows(polls)


def test_the_oldest_make_room(polls: PollMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 2)
    for name in ("a", "b", "a", "c"):
        polls.put(name, CAMERA, KEY, "", etag=b"", body=b"", generations=polls.generations(), keep_s=60)
    assert [polls.recall(name, KEY, "") is not None for name in ("a", "b", "c")] == [True, False, True]


def test_who_was_heard_of_is_taken_once_and_given_back(polls: PollMemory) -> None:
    polls.heard("x", "1.1.1.1")
    polls.heard("y", "2.2.2.2")
    heard = polls.take_heard()
    assert polls.take_heard() == {}
    polls.heard("x", "3.3.3.3")
    polls.give_back(heard, but={"z"})
    assert polls.take_heard() == {"x": "3.3.3.3", "y": "2.2.2.2"}


def test_nobody_is_lost_when_many_are_heard_of_at_once(polls: PollMemory) -> None:
    taken: list[str] = []

    def hear(number: int) -> None:
        for each in range(500):
            polls.heard(f"{number}-{each}", "")

    threads = [threading.Thread(target=hear, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += polls.take_heard()
    taken += polls.take_heard()
    assert len(taken) == len(set(taken)) == 2000


STEPS = st.lists(st.sampled_from(["commit", "look", "take", "read", "put"]), max_size=30)


@given(STEPS)
def test_in_no_order_of_steps_an_answer_outlives_a_look_after_its_change(steps: list[str]) -> None:
    """A database with one number that is the answer, whose epoch is committed with it; a poll and a loop take turns."""
    polls, truth, seen = PollMemory(), 0, 0
    polls.look(epochs())
    taken, read = polls.generations(), 0
    for step in steps:
        if step == "commit":
            truth += 1
        elif step == "look":
            polls.look(epochs(b5=truth))
            seen = truth
        elif step == "take":
            taken, read = polls.generations(), truth
        elif step == "read":
            read = truth
        else:
            put(polls, generations=taken, body=str(read).encode())
        known = polls.recall("cam", KEY, "http://fleet")
        assert known is None or int(known.body) >= seen
