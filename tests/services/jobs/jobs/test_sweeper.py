"""Periodic work on jobs: lost leases, lost messages, old events. Ticks are called by hand."""

from dataclasses import replace
from datetime import timedelta

import pytest
from redis import Redis
from sqlalchemy import update

from services.jobs.jobs import leases, sweeper
from services.jobs.jobs.models import Job, JobEventRow, ServiceLease
from services.jobs.jobs.moves import redispatch_interval
from shared.kit.database import db_now

EVERY, LEASE = timedelta(seconds=5), timedelta(seconds=30)


@pytest.fixture
def later(services):
    """Lets time pass for all that the sweeper looks at: everything stored moves into the past."""

    def pass_time(seconds: float, *, sweeping: bool = False) -> None:
        gone = timedelta(seconds=seconds)
        with services.sessions.begin() as session:
            for job in session.query(Job):
                job.lease_until = job.lease_until and job.lease_until - gone
                job.next_dispatch_at = job.next_dispatch_at and job.next_dispatch_at - gone
            if not sweeping:
                for lease in session.query(ServiceLease):
                    lease.expires_at, lease.ticked_at = lease.expires_at - gone, lease.ticked_at - gone

    return pass_time


def turn(services, holder: str = "me") -> bool:
    return sweeper.take_turn(services.sessions, every=EVERY, lease=LEASE, holder=holder)


def test_a_job_whose_lease_ran_out_is_lost_and_queued_again_at_once(services, fleet, job, later, sent):
    fleet.claim(job["id"])
    sweeper.sweep(services), sent()
    later(31, sweeping=True)
    sweeper.sweep(services)
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["worker"], seen["attempt"]) == ("queued", None, 1)
    assert sent() == [job["id"]]
    assert "nothing was heard of box:1" in fleet.log(job["id"])


def test_a_job_whose_worker_is_heard_of_is_left_alone(services, fleet, job, later):
    token = fleet.claim(job["id"])["token"]
    sweeper.sweep(services)
    for _ in range(3):
        later(20, sweeping=True)
        fleet.tell(job["id"], "heartbeat", token=token)
        sweeper.sweep(services)
    assert fleet.get(job["id"])["state"] == "running"


def test_a_lease_that_runs_out_while_cancelling_ends_the_job(services, fleet, job, later):
    fleet.claim(job["id"])
    fleet.act(job["id"], "cancel")
    sweeper.sweep(services)
    later(31, sweeping=True)
    sweeper.sweep(services)
    assert fleet.get(job["id"])["state"] == "cancelled"


def test_the_fifth_lost_lease_fails_the_job_with_what_to_do(services, fleet, job, later):
    sweeper.sweep(services)
    for _ in range(5):
        fleet.claim(job["id"])
        later(31, sweeping=True)
        sweeper.sweep(services)
    seen = fleet.get(job["id"])
    assert (seen["state"], seen["attempt"], seen["error"]["type"]) == ("failed", 5, "worker_lost")
    assert "retry the job" in seen["error"]["hint"]


def test_after_its_own_outage_the_service_waits_one_full_lease(services, fleet, job, later):
    token = fleet.claim(job["id"])["token"]
    sweeper.sweep(services)
    later(60)  # the service was down: nobody swept, and no heartbeat could arrive
    sweeper.sweep(services)
    later(29, sweeping=True)
    sweeper.sweep(services)
    assert fleet.get(job["id"])["state"] == "running"
    assert fleet.tell(job["id"], "heartbeat", token=token).status_code == 200
    later(31, sweeping=True)
    sweeper.sweep(services)
    assert fleet.get(job["id"])["state"] == "queued"


def test_a_late_tick_is_no_outage(services, fleet, job, later):
    fleet.claim(job["id"])
    assert turn(services)
    later(19)
    assert turn(services)
    later(12)
    assert turn(services)
    assert sweeper.expire_leases(services.sessions) == 1


def test_one_replica_sweeps_at_a_time_and_another_takes_over(services, later):
    assert turn(services, "one")
    assert not turn(services, "two")
    assert turn(services, "one")
    later(11)
    assert turn(services, "two")
    assert not turn(services, "one")


def test_a_lease_renewed_since_the_list_was_made_is_not_lost(services, fleet, job, later):
    token = fleet.claim(job["id"])["token"]
    later(31, sweeping=True)
    fleet.tell(job["id"], "heartbeat", token=token)
    assert sweeper._expire(services.sessions, job["id"]) is False


def test_messages_are_sent_again_at_growing_intervals(services, fleet, job, later, sent):
    assert sent() == [job["id"]]
    waits = [5, 10, 20, 40, 80, 160, 300, 300]
    assert [redispatch_interval(n).total_seconds() for n in range(8)] == waits
    for wait in waits[:6]:
        later(wait / 2)
        if wait >= 40:  # a slow machine's own seconds pass as well
            assert sweeper.resend_due(services.sessions) == 0
        later(wait / 2)
        assert sweeper.resend_due(services.sessions) == 1
        assert sent() == [job["id"]]


def test_messages_of_claimed_and_final_jobs_are_not_sent_again(services, fleet, dataset, later, sent):
    running, over = fleet.submit()["id"], fleet.submit()["id"]
    fleet.claim(running), fleet.act(over, "cancel"), sent()
    later(1000)
    assert sweeper.resend_due(services.sessions) == 0


def test_a_queue_lost_with_redis_is_sent_again_however_long_the_intervals_have_grown(services, fleet, job, sent):
    sweeper.sweep(services)
    with services.sessions.begin() as session:
        session.execute(update(Job).values(dispatches=9, next_dispatch_at=db_now(session) + timedelta(hours=1)))
    sweeper.sweep(services), sent()
    services.redis.flushall()
    sweeper.sweep(services)
    assert sent() == [job["id"]]
    sweeper.sweep(services)
    assert sent() == []


def test_sweeping_goes_on_without_redis(services, fleet, job, later):
    fleet.claim(job["id"])
    sweeper.sweep(services)
    away = Redis.from_url("redis://127.0.0.1:9/0", socket_connect_timeout=0.2)
    later(31, sweeping=True)
    sweeper.sweep(replace(services, redis=away))
    assert fleet.get(job["id"])["state"] == "queued"


def test_old_progress_is_forgotten_and_states_and_logs_are_kept(services, fleet, job):
    token = fleet.claim(job["id"])["token"]
    for number in (1, 2):
        progress = {"phase": "train", "done": number}
        fleet.tell(job["id"], "progress", token=token, report_no=number, progress=progress, logs=[{"message": "kept"}])
    with services.sessions.begin() as session:
        session.execute(update(JobEventRow).values(at=db_now(session) - timedelta(days=60)))
    fleet.tell(job["id"], "progress", token=token, report_no=3, progress={"phase": "train", "done": 3})
    sweeper.forget_old_progress(services)
    with services.sessions() as session:
        kept = [row.type for row in session.query(JobEventRow).order_by(JobEventRow.seq)]
    assert kept == ["state", "state", "log", "log", "progress"]


def test_two_first_turns_at_the_same_time_give_one(services, race):
    def first() -> bool:
        with services.sessions.begin() as session:
            return leases.take(session, "fresh", ttl=EVERY, holder=str(id(object()))) is not None

    assert sorted(race([first] * 4)) == [False, False, False, True]
