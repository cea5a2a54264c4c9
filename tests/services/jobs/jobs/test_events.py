"""Following a job: server-sent events out of the database, woken by Redis, complete without it."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from services.jobs.app import create_app
from services.jobs.jobs import wakeups
from shared.contracts.jobs import JobEvent


@dataclass
class Event:
    id: int
    type: str
    event: JobEvent


def stream(fleet, job_id: str, after: int | None = None) -> Iterator[Event | str]:
    """Events, and comments as text, until the stream ends."""
    headers = fleet.user | ({} if after is None else {"Last-Event-ID": str(after)})
    with fleet.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line.startswith(":"):
                yield line
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                yield Event(int(fields["id"]), fields["event"], JobEvent.model_validate(json.loads(fields["data"])))
                fields = {}


def events(fleet, job_id: str, after: int | None = None) -> list[Event]:
    return [item for item in stream(fleet, job_id, after) if isinstance(item, Event)]


class Follower(threading.Thread):
    """Follows a job in the background, noting when each event came."""

    def __init__(self, fleet, job_id: str) -> None:
        super().__init__(daemon=True)
        self.fleet, self.job_id, self.seen, self.arrived = fleet, job_id, [], {}
        self.start()

    def run(self) -> None:
        for item in stream(self.fleet, self.job_id):
            if isinstance(item, Event):
                self.arrived[item.id] = time.monotonic()
                self.seen.append(item.id)

    def wait_for(self, seq: int, timeout_s: float = 10) -> float:
        give_up = time.monotonic() + timeout_s
        while seq not in self.arrived:
            assert time.monotonic() < give_up, f"event {seq} did not come; seen: {self.seen}"
            time.sleep(0.01)
        return self.arrived[seq]


def finish(fleet, job_id: str, lines: int = 3) -> None:
    token = fleet.claim(job_id)["token"]
    for number in range(1, lines + 1):
        progress = {"phase": "train", "done": number}
        fleet.tell(job_id, "progress", token=token, report_no=number, progress=progress, logs=[{"message": f"{number}"}])
    fleet.tell(job_id, "finish", token=token)


def test_a_finished_jobs_stream_tells_all_and_ends_with_the_final_state(fleet, job):
    finish(fleet, job["id"])
    told = events(fleet, job["id"])
    assert [event.id for event in told] == list(range(1, len(told) + 1))
    assert [event.type for event in told] == ["state", "state", *["log", "progress"] * 3, "state"]
    assert told[-1].event.payload == {"state": "succeeded", "attempt": 1, "worker": "box:1"}
    assert all(event.id == event.event.seq and event.type == event.event.type for event in told)


@pytest.mark.parametrize("after", [0, 1, 4, 8])
def test_a_reader_goes_on_after_the_last_event_that_it_saw(fleet, job, after):
    finish(fleet, job["id"])
    assert [event.id for event in events(fleet, job["id"], after)] == list(range(after + 1, 10))


@pytest.mark.parametrize("after", [9, 1000])
def test_a_reader_that_has_seen_all_gets_nothing_and_an_end(fleet, job, after):
    finish(fleet, job["id"])
    assert events(fleet, job["id"], after) == []


@pytest.mark.parametrize("after", ["-1", "x", str(2**40)])
def test_a_bad_last_event_id_is_refused(fleet, job, after):
    headers = fleet.user | {"Last-Event-ID": after}
    answer = fleet.http.get(f"/v1/jobs/{job['id']}/events", headers=headers)
    assert answer.status_code == 422


def test_long_histories_come_whole(fleet, job):
    token = fleet.claim(job["id"])["token"]
    for number in (1, 2):
        fleet.tell(job["id"], "progress", token=token, report_no=number, logs=[{"message": "x"}] * 700)
    fleet.tell(job["id"], "finish", token=token)
    assert [event.id for event in events(fleet, job["id"])] == list(range(1, 1404))


@pytest.fixture
def running_loops(settings, serve, operator, worker):
    """The same service once more, on the same database, with its loops: a second replica."""
    settings = settings.model_copy(update={"run_loops": True, "sse_ping_s": 0.2})
    return serve(create_app(settings))


@pytest.fixture
def live(running_loops, fleet):
    """Speaks to the replica whose loops run."""
    wait_until(lambda: running_loops.app.state.services.wakeups.listening)
    with httpx.Client(base_url=running_loops.url, timeout=30) as client:
        yield type(fleet)(client, fleet.user, fleet.worker)


def wait_until(is_so, timeout_s: float = 15) -> None:
    give_up = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def test_readers_are_woken_by_redis_long_before_they_would_look(live, job, monkeypatch):
    monkeypatch.setattr(wakeups, "CALM_POLL_S", 60.0)
    follower = Follower(live, job["id"])
    follower.wait_for(1)
    token = live.claim(job["id"])["token"]
    told = time.monotonic()
    assert follower.wait_for(2) - told < 1
    live.tell(job["id"], "finish", token=token)
    follower.wait_for(3)
    follower.join(5)
    assert not follower.is_alive()


def test_quiet_streams_carry_comments_that_keep_them_alive(live, job):
    comments = (item for item in stream(live, job["id"]) if isinstance(item, str))
    assert next(comments).startswith(": ")


def test_without_redis_readers_still_get_everything(fleet, job):
    # The loops of this app do not run: nobody listens to Redis, so readers look for themselves.
    follower = Follower(fleet, job["id"])
    follower.wait_for(1)
    finish(fleet, job["id"])
    follower.join(10)
    assert follower.seen == list(range(1, 10))


def test_nothing_is_lost_when_redis_dies_and_comes_back_empty(new_redis, settings, serve, fleet, job):
    redis = new_redis()
    redis.start()
    served = serve(create_app(settings.model_copy(update={"run_loops": True, "redis_url": redis.url})))
    services = served.app.state.services
    wait_until(lambda: services.wakeups.listening)
    with httpx.Client(base_url=served.url, timeout=30) as client:
        live = type(fleet)(client, fleet.user, fleet.worker)
        follower = Follower(live, job["id"])
        token = live.claim(job["id"])["token"]
        redis.kill()
        wait_until(lambda: not services.wakeups.listening)
        began = time.monotonic()
        live.tell(job["id"], "progress", token=token, report_no=1, logs=[{"message": "without redis"}])
        assert time.monotonic() - began < 5
        follower.wait_for(3)
        redis.start()
        wait_until(lambda: services.wakeups.listening)
        live.tell(job["id"], "finish", token=token)
        follower.join(10)
    assert follower.seen == [1, 2, 3, 4]


def test_an_open_stream_does_not_hold_up_the_end_of_the_service(running_loops, live, job):
    follower = Follower(live, job["id"])
    follower.wait_for(1)
    running_loops.app.state.services.stopping.set()  # as the service's SIGTERM handler does
    follower.join(2)
    assert not follower.is_alive()
