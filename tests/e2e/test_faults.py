"""What a user is promised when things die: nothing is lost, nothing runs twice, and the error says what to do.

`make mutants` takes the mechanisms out one by one and sees these tests fail.
"""

import itertools
import time
from itertools import pairwise

import numpy as np
import psutil
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from services.jobs.jobs.domain import MAX_LOST_ATTEMPTS
from services.jobs.settings import JobsSettings
from shared.contracts.jobs import EventType, JobState
from shared.kit.celery_app import make_celery, send_job
from tests.conftest import quickest_s

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(1500)]

RECOVERY_S = 45
"""From a worker's death to the next attempt, with the product's lease."""
CANCEL_S = 5
PHASES = ("prepare", "train", "evaluate", "pictures", "export")


@pytest.mark.timed
def test_a_killed_worker_is_replaced_and_the_weights_are_those_of_an_undisturbed_run(platform, dataset, tmp_path):
    undisturbed = platform.submit(dataset, name="undisturbed", steps=60)
    disturbed = platform.submit(dataset, name="disturbed", steps=60)
    undisturbed = platform.registered(undisturbed)
    platform.until_training(disturbed, step=25)
    children = platform.children()
    killed_at = time.monotonic()
    platform.kill("worker")

    again = platform.until(disturbed, lambda now: now.attempt == 2 and now.state is JobState.RUNNING, what="attempt 2")
    took_s = time.monotonic() - killed_at
    ended = platform.registered(disturbed)

    assert again.state is JobState.RUNNING
    assert ended.state is JobState.SUCCEEDED, ended.error
    # The tests' lease is shorter than the product's; all else takes as long as it does there.
    assert took_s + JobsSettings.model_fields["lease_s"].default - platform.lease_s < RECOVERY_S
    assert platform.states(disturbed) == ["queued", "running", "lost", "queued", "running", "succeeded"]
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert "resumed at step" in platform.client.jobs.logs(disturbed.id), "attempt 2 began anew instead of at the checkpoint"
    first, second = (platform.weights(job, tmp_path / job.id) for job in (undisturbed, ended))
    assert all(np.array_equal(first[name], second[name]) for name in first | second)


def test_redis_killed_and_emptied_loses_no_queued_job(platform, dataset):
    busy = platform.submit(dataset, steps=60)
    queued = [platform.submit(dataset, name=f"queued-{number}", steps=5) for number in range(3)]
    platform.until_training(busy)
    with platform.without("redis"):  # it keeps nothing on disk: it comes back empty
        queued.append(platform.submit(dataset, name="submitted-without-redis", steps=5))
        time.sleep(2)
    for job in [busy, *queued]:
        assert platform.finished(job).state is JobState.SUCCEEDED
        assert platform.states(job).count("running") == 1


def test_a_job_outlives_an_outage_of_the_jobs_service_that_is_longer_than_the_lease(platform, dataset):
    job = platform.submit(dataset, steps=150)
    platform.until_training(job)
    with platform.without("jobs"):
        time.sleep(1.5 * platform.lease_s)
    platform.until_well()
    ended = platform.finished(job)
    assert ended.state is JobState.SUCCEEDED, ended.error
    assert ended.attempt == 1
    assert platform.states(job) == ["queued", "running", "succeeded"]
    events = platform.events(job)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_metrics_of_an_mlflow_outage_arrive_afterwards(platform, dataset):
    job = platform.submit(dataset, steps=150)
    running = platform.until(job, lambda now: now.mlflow_run_id is not None, what="the MLflow run")
    platform.until_training(job)
    with platform.without("mlflow"):
        time.sleep(12)
    platform.until_well()
    ended = platform.finished(job)
    assert ended.state is JobState.SUCCEEDED, ended.error
    assert ended.attempt == 1
    steps = platform.metric_steps(running.mlflow_run_id, "loss")
    assert steps[-1] == 150
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert max(gaps) <= min(gaps) + 1, f"a hole in the loss curve: {steps}"


def test_a_job_that_kills_its_worker_five_times_fails_with_that_reason(platform, dataset):
    job = platform.submit(dataset, steps=400)
    for attempt in range(1, MAX_LOST_ATTEMPTS + 1):
        platform.until(
            job, lambda now, n=attempt: now.attempt == n and now.state is JobState.RUNNING, what=f"attempt {attempt}"
        )
        platform.kill_child_of(job)
    ended = platform.finished(job)
    assert ended.state is JobState.FAILED
    assert ended.attempt == MAX_LOST_ATTEMPTS
    assert "SIGKILL" in ended.error.message
    assert ended.error.hint
    after = platform.finished(platform.submit(dataset, steps=3))
    assert after.state is JobState.SUCCEEDED, "the worker did not survive the job"


def test_the_same_message_delivered_eight_times_runs_once(platform, dataset):
    job = platform.submit(dataset, steps=10)
    celery = make_celery(platform.redis_url)
    for _ in range(8):
        send_job(celery, kind=job.kind, job_id=job.id)
    celery.close()
    ended = platform.finished(job)
    marker = platform.finished(platform.submit(dataset, steps=3))  # behind all eight in the queue
    assert marker.state is JobState.SUCCEEDED
    assert ended.attempt == platform.client.jobs.get(job.id).attempt == 1
    assert platform.states(job) == ["queued", "running", "succeeded"]


@pytest.mark.timed
@pytest.mark.parametrize("phase", PHASES)
def test_cancel_takes_five_seconds_at_any_stage(platform, dataset, phase):
    sides = itertools.count(70 + 10 * PHASES.index(phase))  # that no other job uses, so that there is something to prepare
    assert quickest_s(lambda: _cancelled_after_s(platform, dataset, phase, next(sides)), goal_s=CANCEL_S) < CANCEL_S


def _cancelled_after_s(platform, dataset, phase, side) -> float:
    job = platform.submit(dataset, steps=20, window={"side": side})
    _follow_until(platform, job, phase)
    begun = time.monotonic()
    platform.client.jobs.cancel(job.id)
    ended = platform.finished(job)
    assert ended.state is JobState.CANCELLED
    return time.monotonic() - begun


def test_a_queued_job_is_cancelled_at_once(platform, dataset):
    busy = platform.submit(dataset, steps=400)
    platform.until_training(busy)
    queued = platform.submit(dataset, steps=5)
    assert platform.client.jobs.cancel(queued.id).state is JobState.CANCELLED
    platform.client.jobs.cancel(busy.id)
    platform.finished(busy)
    assert platform.states(queued) == ["queued", "cancelled"]


def test_events_resume_where_the_reader_left_off_though_redis_was_emptied(platform, dataset):
    job = platform.submit(dataset, steps=60)
    platform.until_training(job)
    first = []
    for event in platform.client.jobs.events(job.id):
        first.append(event)
        if event.type is EventType.PROGRESS:
            break
    platform.empty_redis()
    rest = list(platform.client.jobs.events(job.id, after=first[-1].seq))
    assert [event.seq for event in first + rest] == list(range(1, rest[-1].seq + 1))
    assert rest[-1].payload["state"] == "succeeded"


def test_a_loss_that_is_no_number_fails_the_job_with_advice(platform, dataset):
    made = platform.registered(platform.submit(dataset, steps=3))
    version = f"{made.outputs[0].registered_model}/{made.outputs[0].version}"
    (file,) = (platform.home.path / "mlflow").rglob(f"*{made.mlflow_run_id}*/**/model.safetensors")
    with safe_open(file, "numpy") as weights:
        tensors, metadata = {name: weights.get_tensor(name) for name in weights.keys()}, weights.metadata()  # noqa: SIM118
    tensors["output_head.weight"][:] = 3e38  # a number still, so it is accepted; the first product with it is not
    save_file(tensors, file, metadata)

    ended = platform.finished(platform.submit(dataset, steps=5, initial_model=version))
    assert ended.state is JobState.FAILED
    assert ended.error.type == "diverged"
    assert "step 1" in ended.error.message
    assert "learning_rate" in ended.error.hint
    assert ended.attempt == 1


def _follow_until(platform, job, phase):
    """Returns as soon as the job reports the phase or a later one: reports come once a second, phases may be shorter."""
    wanted = PHASES[PHASES.index(phase) :]
    for event in platform.client.jobs.events(job.id):
        if event.type is EventType.PROGRESS and event.payload["phase"] in wanted:
            return
