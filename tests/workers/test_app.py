"""The worker as it runs in production: Celery, the real jobs service, Redis and MLflow."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from shared.contracts.jobs import JobState
from tests.workers.conftest import wait_until

GENERATED = {"kind": "generator", "images": 24, "width": 160, "height": 128, "max_objects": 3}


@pytest.fixture
def celery_worker(tracking_service, services_redis, mlflow_server, tmp_path) -> Iterator["subprocess.Popen[bytes]"]:
    values = {
        "JOBS_URL": tracking_service.url,
        "API_KEY_FILE": str(tracking_service.folder / "worker.key"),
        "REDIS_URL": services_redis,
        "MLFLOW_URL": mlflow_server,
        "CACHE_DIR": str(tmp_path / "cache"),
        "NAME": "test:worker",
    }
    environment = os.environ | {f"PICOFLEET_WORKER_{name}": value for name, value in values.items()}
    command = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-l", "INFO"]
    with (tmp_path / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def test_a_submitted_job_runs_by_itself_and_the_worker_ends_when_asked_to(tracking_service, celery_worker):
    dataset = tracking_service.dataset("shapes", **GENERATED)
    job_id = dataset["import_job"]
    wait_until(lambda: tracking_service.job(job_id).state is JobState.SUCCEEDED, what="the import", timeout_s=90)
    training = tracking_service.training(dataset["name"], recipe={"samples": 100_000, "evaluate_every": 1000})
    wait_until(lambda: tracking_service.job(training).progress, what="the training", timeout_s=90)
    workers = tracking_service.client.get("/v1/workers").raise_for_status().json()["items"]
    assert [worker["name" if "name" in worker else "worker"] for worker in workers if worker["alive"]] == ["test:worker"]
    celery_worker.send_signal(signal.SIGTERM)
    assert celery_worker.wait(30) == 0
    assert tracking_service.job(training).state is JobState.QUEUED, "it was handed back"
    tracking_service.cancel(training)
