"""Why a queued job waits."""

from datetime import timedelta

from sqlalchemy import update

from services.jobs.workers.models import Worker
from shared.kit.database import db_now


def waits(fleet, job) -> str | None:
    return fleet.get(job["id"])["waiting_for"]


def test_nobody_serves_the_queue(fleet, job):
    fleet.hello("box:2", queues=["dataset_import"])
    assert "none that is alive serves the queue 'training'" in waits(fleet, job)


def test_the_worker_was_not_heard_of_for_too_long(services, fleet, job):
    fleet.hello()
    with services.sessions.begin() as session:
        session.execute(update(Worker).values(last_seen_at=db_now(session) - timedelta(seconds=31)))
    assert "none that is alive" in waits(fleet, job)


def test_all_workers_are_busy_and_with_what(fleet, job):
    fleet.hello(slots=1)
    other = fleet.submit()
    fleet.claim(other["id"])
    assert waits(fleet, job) == f"a free worker: box:1 runs {other['id']}"
    assert waits(fleet, other) is None


def test_a_worker_with_a_free_slot_will_pick_it_up(fleet, job):
    fleet.hello(slots=2)
    fleet.claim(fleet.submit()["id"])
    assert waits(fleet, job) == "one of 1 workers to pick it up"


def test_the_broker_is_away(services, fleet, job):
    fleet.hello()
    services.messenger.broker_away = True
    assert "Redis cannot be reached" in waits(fleet, job)


def test_only_queued_jobs_wait(fleet, job):
    fleet.act(job["id"], "cancel")
    assert waits(fleet, job) is None


def test_the_list_says_it_too(fleet, job):
    [listed] = fleet.http.get("/v1/jobs", headers=fleet.user).json()["items"]
    assert listed == fleet.get(job["id"])
    assert listed["waiting_for"]
