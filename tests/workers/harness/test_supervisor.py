import os
import time

import psutil
import pytest

from shared.contracts.jobs import JobState
from tests.conftest import quickest_s
from tests.workers.conftest import Running, wait_until


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if "workers.harness.child" in " ".join(each.cmdline())]


def test_a_job_runs_in_a_child_and_its_words_arrive(run_trial, jobs_service):
    job, finish = run_trial("succeed")
    assert finish is not None
    assert finish.result["pid"] != os.getpid()
    assert job.state is JobState.SUCCEEDED
    assert job.result["attempt"] == 1
    assert job.progress is not None
    assert job.progress.done == 1
    assert "one line" in jobs_service.logs(job.id)


def test_of_eight_messages_about_one_job_one_runs_it(jobs_service, worker_for):
    job_id, supervisor = jobs_service.trial("succeed"), worker_for(jobs_service)
    running = [Running(supervisor, job_id) for _ in range(8)]
    outcomes = [each.wait() for each in running]
    assert sum(outcome is not None for outcome in outcomes) == 1
    assert jobs_service.job(job_id).attempt == 1


@pytest.mark.timed
@pytest.mark.parametrize("trial", ["obey", "hang"])
def test_a_cancel_ends_the_job_within_five_seconds(trial, jobs_service, worker_for):
    worker = worker_for(jobs_service)

    def cancelled_after_s() -> float:
        job_id = jobs_service.trial(trial)
        running = Running(worker, job_id)
        wait_until(lambda: jobs_service.job(job_id).progress, what="progress")
        begun = time.monotonic()
        jobs_service.cancel(job_id)
        wait_until(lambda: jobs_service.job(job_id).state is JobState.CANCELLED, what="the cancel")
        took_s = time.monotonic() - begun
        running.wait()
        assert not children()
        return took_s

    assert quickest_s(cancelled_after_s, goal_s=5) < 5


@pytest.mark.faults
def test_a_hang_inside_native_code_is_cancelled_too(jobs_service, worker_for):
    job_id = jobs_service.trial("hang_holding_the_gil")
    running = Running(worker_for(jobs_service), job_id)
    wait_until(lambda: jobs_service.job(job_id).progress, what="progress")
    jobs_service.cancel(job_id)
    wait_until(lambda: jobs_service.job(job_id).state is JobState.CANCELLED, what="the cancel", timeout_s=5)
    running.wait()


@pytest.mark.faults
def test_helpers_of_a_killed_job_die_with_it(jobs_service, worker_for):
    job_id = jobs_service.trial("with_helper")
    running = Running(worker_for(jobs_service), job_id)
    wait_until(lambda: "helper " in jobs_service.logs(job_id), what="the helper")
    helper = psutil.Process(int(jobs_service.logs(job_id).split("helper ")[1].split()[0]))
    jobs_service.cancel(job_id)
    running.wait()
    wait_until(lambda: not helper.is_running() or helper.status() == psutil.STATUS_ZOMBIE, what="the helper's end")


@pytest.mark.faults
def test_a_killed_child_is_reported_at_once_and_the_job_queued_again(run_trial, jobs_service):
    job, finish = run_trial("kill_itself")
    assert finish is not None
    assert finish.crashed
    assert finish.error is not None
    assert "SIGKILL" in finish.error.message
    assert job.state is JobState.QUEUED
    assert "last words" in jobs_service.logs(job.id)


@pytest.mark.faults
def test_a_job_that_kills_its_worker_five_times_fails_with_that_reason(jobs_service, worker_for):
    job_id, supervisor = jobs_service.trial("kill_itself"), worker_for(jobs_service)
    for attempt in range(1, 6):
        assert supervisor.run_job(job_id) is not None
        assert jobs_service.job(job_id).attempt == attempt
    job = jobs_service.job(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "SIGKILL" in job.error.message
    assert supervisor.run_job(job_id) is None


@pytest.mark.faults
@pytest.mark.parametrize(
    ("trial", "kind", "advice"),
    [
        ("take_all_memory", "out_of_memory", "batch_size"),
        ("fill_the_disk", "disk_full", "Free space"),
        ("diverge", "diverged", "learning_rate"),
    ],
)
def test_a_failure_says_what_to_do(trial, kind, advice, run_trial):
    job, _ = run_trial(trial, memory_limit_bytes=32 * 1024**3)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.type == kind
    assert advice in job.error.hint


def test_a_result_that_is_no_json_fails_the_job_instead_of_hanging_it(run_trial):
    job, _ = run_trial("refused_result")
    assert job.state in {JobState.FAILED, JobState.SUCCEEDED}


@pytest.mark.faults
def test_a_child_that_says_nothing_for_long_is_hung(run_trial):
    begun = time.monotonic()
    job, finish = run_trial("hang", hang_s=2)
    assert time.monotonic() - begun < 30
    assert finish is not None
    assert finish.error is not None
    assert "hung" in finish.error.message
    assert job.state is JobState.QUEUED


@pytest.mark.faults
def test_a_lost_lease_kills_the_child_and_says_nothing_more(mortal_service, worker_for):
    job_id = mortal_service.trial("obey")
    slow = Running(worker_for(mortal_service, heartbeat_s=12), job_id)  # the lease has 6 s
    wait_until(lambda: mortal_service.job(job_id).state is JobState.RUNNING, what="the first claim")
    wait_until(lambda: mortal_service.job(job_id).state is JobState.QUEUED, what="the lease to run out")
    other = Running(worker_for(mortal_service, cache_dir=mortal_service.folder / "other"), job_id)
    wait_until(lambda: mortal_service.job(job_id).attempt == 2, what="the second claim")
    assert slow.wait() is None
    assert mortal_service.job(job_id).state is JobState.RUNNING
    assert len(children()) == 1
    mortal_service.cancel(job_id)
    other.wait()


@pytest.mark.faults
def test_while_the_service_is_away_the_job_goes_on_and_reports_later(mortal_service, worker_for):
    job_id = mortal_service.trial("slow_but_steady")
    running = Running(worker_for(mortal_service), job_id)
    wait_until(lambda: "line 3\n" in mortal_service.logs(job_id), what="the first lines")
    mortal_service.kill()
    time.sleep(20)
    mortal_service.start()
    finish = running.wait()
    assert finish is not None
    job, lines = mortal_service.job(job_id), mortal_service.logs(job_id)
    assert job.state is JobState.SUCCEEDED
    assert job.attempt == 1
    assert [line for line in range(60) if f"line {line}\n" not in lines] == []


def test_a_stopped_worker_hands_its_job_back(jobs_service, worker_for):
    job_id, supervisor = jobs_service.trial("obey"), worker_for(jobs_service)
    running = Running(supervisor, job_id)
    wait_until(lambda: jobs_service.job(job_id).progress, what="progress")
    supervisor.shut_down()
    finish = running.wait(10)
    assert finish is not None
    assert jobs_service.job(job_id).state is JobState.QUEUED
    assert not finish.crashed, "a clean shutdown must not count towards the five lost attempts"
