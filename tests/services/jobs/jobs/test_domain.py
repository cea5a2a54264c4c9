"""The rules of job states."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.jobs.jobs.domain import ALLOWED, MAX_LOST_ATTEMPTS, IllegalMove, Outcome, Standing
from shared.contracts.jobs import JobError, JobState

BROKEN = JobError(type="diverged", message="loss is nan", hint="lower the learning rate")


def a_standing(state: JobState = JobState.RUNNING, **overrides) -> Standing:
    error = {"error": BROKEN} if state is JobState.FAILED else {}
    return Standing(**({"state": state, "attempt": 1} | error | overrides))


def states(steps: tuple[Standing, ...]) -> list[str]:
    return [step.state.value for step in steps]


def test_an_undisturbed_job_is_queued_runs_and_succeeds():
    running = Standing().claimed()
    assert (running.state, running.attempt) == ("running", 1)
    assert states(running.finished(Outcome.SUCCEEDED)) == ["succeeded"]


@pytest.mark.parametrize("state", [s for s in JobState if s is not JobState.QUEUED])
def test_only_a_queued_job_can_be_claimed(state):
    with pytest.raises(IllegalMove):
        a_standing(state).claimed()


def test_cancel_is_immediate_while_nobody_holds_the_job():
    assert Standing().cancelled().state == "cancelled"


def test_cancel_of_a_running_job_waits_for_its_worker():
    assert a_standing().cancelled().state == "cancelling"


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.CANCELLED])
def test_cancel_twice_changes_nothing(state):
    assert a_standing(state).cancelled() == a_standing(state)


@pytest.mark.parametrize("outcome", Outcome)
def test_once_a_stop_was_asked_for_every_outcome_is_cancelled(outcome):
    assert states(a_standing(JobState.CANCELLING).finished(outcome, BROKEN)) == ["cancelled"]


def test_a_lease_that_runs_out_while_cancelling_ends_the_job():
    assert states(a_standing(JobState.CANCELLING).expired()) == ["cancelled"]


def test_a_lost_job_is_queued_again_at_once():
    assert states(a_standing().expired()) == ["lost", "queued"]


def test_the_fifth_lost_attempt_fails_the_job_with_worker_lost():
    steps = a_standing(attempt=5, lost_attempts=4).expired()
    assert states(steps) == ["lost", "failed"]
    assert steps[-1].error.type == "worker_lost"


def test_the_fifth_crash_fails_the_job_with_what_its_worker_saw():
    killed = JobError(type="out_of_memory", message="killed by signal 9", hint="smaller batch_size")
    assert a_standing(attempt=5, lost_attempts=4).finished(Outcome.CRASHED, killed)[-1].error == killed


def test_a_job_given_back_by_its_worker_is_not_counted_as_lost():
    lost, queued = a_standing(lost_attempts=1).finished(Outcome.CANCELLED)
    assert (lost.state, queued.state, queued.lost_attempts) == ("lost", "queued", 1)


def test_a_retry_forgives_lost_attempts_but_never_reuses_a_token():
    again = a_standing(JobState.FAILED, attempt=5, lost_attempts=5).retried()
    assert (again.state, again.lost_attempts, again.error) == ("queued", 0, None)
    assert again.claimed().attempt == 6


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED, JobState.CANCELLING])
def test_only_failed_and_cancelled_jobs_can_be_retried(state):
    with pytest.raises(IllegalMove, match=state):
        a_standing(state).retried()


def test_a_standing_refuses_an_error_without_failure():
    with pytest.raises(ValueError, match="exactly when it failed"):
        Standing(error=BROKEN)


def test_a_standing_refuses_more_lost_attempts_than_claims():
    with pytest.raises(ValueError, match=r"lost_attempts must be in 0\.\.1"):
        Standing(attempt=1, lost_attempts=2)


class AnyHistory(RuleBasedStateMachine):
    """Whatever happens in whatever order, the invariants below hold."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Standing()
        self.stop_wanted = False

    def go(self, *steps: Standing) -> None:
        for step in steps:
            assert step == self.now or step.state in ALLOWED[self.now.state]
            assert step.attempt >= self.now.attempt, "tokens never go back"
            self.now = step
        assert self.now.state is not JobState.LOST, "nobody rests in lost"

    @precondition(lambda self: self.now.state is JobState.QUEUED)
    @rule()
    def claim(self) -> None:
        before = self.now.attempt
        self.go(self.now.claimed())
        assert self.now.attempt == before + 1

    @precondition(lambda self: self.now.state not in {JobState.SUCCEEDED, JobState.FAILED})
    @rule()
    def cancel(self) -> None:
        self.go(self.now.cancelled())
        self.stop_wanted = True

    @precondition(lambda self: self.now.state in {JobState.RUNNING, JobState.CANCELLING})
    @rule(crashed=st.booleans())
    def finish(self, crashed: bool) -> None:
        self.go(*self.now.finished(Outcome.CRASHED if crashed else Outcome.FAILED, BROKEN))

    @precondition(lambda self: self.now.state in {JobState.RUNNING, JobState.CANCELLING})
    @rule()
    def expire(self) -> None:
        self.go(*self.now.expired())

    @precondition(lambda self: not self.now.state.is_final)
    @rule()
    def doom(self) -> None:
        self.go(self.now.doomed(BROKEN))

    @precondition(lambda self: self.now.state in {JobState.FAILED, JobState.CANCELLED})
    @rule()
    def retry(self) -> None:
        self.go(self.now.retried())
        self.stop_wanted = False

    @invariant()
    def lost_attempts_are_bounded(self) -> None:
        assert self.now.lost_attempts < MAX_LOST_ATTEMPTS or self.now.state is JobState.FAILED

    @invariant()
    def a_wanted_stop_is_never_forgotten(self) -> None:
        if self.stop_wanted:
            assert self.now.state in {JobState.CANCELLING, JobState.CANCELLED}


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
