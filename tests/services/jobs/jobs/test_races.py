"""Races, with threads on the real database."""

from datetime import timedelta
from functools import partial

import pytest

from services.jobs.jobs import protocol, service, sweeper
from services.jobs.jobs.errors import JobNotCancellable, NotClaimable, StaleToken
from services.jobs.jobs.models import Job, JobEventRow
from shared.contracts.imports import ModelImportSpec
from shared.contracts.worker import FinishIn, LogLine, ReportIn

LEASE = timedelta(seconds=30)
ROUNDS = 15


@pytest.fixture
def queued(services):
    """Makes queued jobs that need no dataset."""

    def make() -> str:
        spec = ModelImportSpec(blob=f"sha256:{'a' * 64}", format="onnx")
        with services.sessions.begin() as session:
            return service.enqueue(session, spec=spec, owner="ada").id

    return make


@pytest.fixture
def claim(services):
    def take(job_id: str, worker: str = "w"):
        with services.sessions.begin() as session:
            return protocol.claim(session, job_id, worker=worker, lease=LEASE)

    return take


def event_numbers(services, job_id: str) -> list[int]:
    with services.sessions() as session:
        return [row.seq for row in session.query(JobEventRow).filter_by(job_id=job_id).order_by(JobEventRow.seq)]


def test_of_eight_claims_at_the_same_time_one_wins(services, queued, claim, race):
    for _ in range(ROUNDS):
        job_id = queued()
        answers = race([partial(claim, job_id, f"w{w}") for w in range(8)])
        won = [n for n, answer in enumerate(answers) if not isinstance(answer, NotClaimable)]
        assert len(won) == 1
        with services.sessions() as session:
            assert session.get_one(Job, job_id).worker == f"w{won[0]}"
        assert event_numbers(services, job_id) == [1, 2]


def test_a_message_delivered_eight_times_over_http_runs_once(fleet, job, race):
    answers = race([lambda w=w: fleet.tell(job["id"], "claim", worker=f"w{w}") for w in range(8)])
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7


def test_events_written_at_the_same_time_are_numbered_without_gaps(services, queued, claim, race):
    job_id = queued()
    token = claim(job_id).token

    def report(thread: int) -> None:
        for number in range(5):
            body = ReportIn(token=token, report_no=number * 8 + thread + 1, logs=[LogLine(message="x")] * 2)
            with services.sessions.begin() as session:
                protocol.report(session, job_id, body, lease=LEASE)

    race([lambda t=t: report(t) for t in range(8)])
    numbers = event_numbers(services, job_id)
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_same_report_at_the_same_time_is_stored_once(services, queued, claim, race):
    for _ in range(ROUNDS):
        job_id = queued()
        body = ReportIn(token=claim(job_id).token, report_no=1, logs=[LogLine(message="x")])

        def report(job_id=job_id, body=body) -> None:
            with services.sessions.begin() as session:
                protocol.report(session, job_id, body, lease=LEASE)

        race([report] * 4)
        assert event_numbers(services, job_id) == [1, 2, 3]


def test_finish_and_cancel_at_the_same_time_agree_on_one_end(services, queued, claim, race):
    for _ in range(ROUNDS):
        job_id = queued()
        token = claim(job_id).token

        def finish(job_id=job_id, token=token) -> None:
            with services.sessions.begin() as session:
                protocol.finish(session, job_id, FinishIn(token=token, result={"x": 1}))

        def cancel(job_id=job_id) -> bool:
            try:
                with services.sessions.begin() as session:
                    service.cancel(session, job_id)
            except JobNotCancellable:
                return False
            return True

        _, cancelled = race([finish, cancel])
        with services.sessions() as session:
            job = session.get_one(Job, job_id)
        # A cancel that came after the end is refused; one that came before it wins, and the figures are kept.
        assert (job.state, job.result) == ("cancelled" if cancelled else "succeeded", {"x": 1})


def test_a_late_finish_and_the_sweeper_agree_on_one_end(services, queued, claim, race):
    for _ in range(ROUNDS):
        job_id = queued()
        token = claim(job_id).token
        with services.sessions.begin() as session:
            session.get_one(Job, job_id).lease_until -= timedelta(minutes=5)

        def finish(job_id=job_id, token=token) -> bool:
            try:
                with services.sessions.begin() as session:
                    protocol.finish(session, job_id, FinishIn(token=token))
            except StaleToken:
                return False
            return True

        finished, lost = race([finish, lambda j=job_id: sweeper._expire(services.sessions, j)])
        with services.sessions() as session:
            state = session.get_one(Job, job_id).state
        assert (finished, lost, state) in [(True, False, "succeeded"), (False, True, "queued")]


def test_two_sweepers_declare_a_job_lost_once(services, queued, claim, race):
    for _ in range(ROUNDS):
        job_id = queued()
        claim(job_id)
        with services.sessions.begin() as session:
            session.get_one(Job, job_id).lease_until -= timedelta(minutes=5)
        assert sorted(race([lambda j=job_id: sweeper._expire(services.sessions, j)] * 3)) == [False, False, True]
        with services.sessions() as session:
            assert session.get_one(Job, job_id).lost_attempts == 1
