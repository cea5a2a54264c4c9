"""Whole trainings: real jobs service, real MLflow, real children."""

import os
import subprocess
import sys

import httpx
import pytest

from shared.contracts.datasets import GeneratorSource
from shared.contracts.jobs import JobState
from shared.picosam.data.generator import generate
from tests.workers.conftest import Running, wait_until
from workers.harness.kinds import MODULES

GENERATED = {"kind": "generator", "images": 24, "width": 160, "height": 128, "max_objects": 3}
# Draws masks after a few steps: without the cross entropy an empty answer is no easy one.
QUICK = {"samples": 64, "batch_size": 4, "learning_rate": 3e-3, "ema_decay": 0, "bce_weight": 0, "evaluate_every": 16}


@pytest.fixture
def worker(tracking_service, worker_for, mlflow_server):
    return worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server)


def test_a_training_leaves_figures_pictures_and_a_model(tracking_service, worker, mlflow_server):
    dataset = tracking_service.imported(worker, **GENERATED | {"images": 100})
    assert dataset["state"] == "ready", dataset
    job_id = tracking_service.training(dataset["name"], register_as="trained", recipe=QUICK)
    worker.run_job(job_id)
    job = tracking_service.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job_id))
    for name in ("miou_96", "miou_96_pad", "miou_96_unclipped", "hit_rate_50_95", "hit_rate_50_95_pad", "mask_ap"):
        assert 0 <= job.result[name] <= 1
    assert job.result["steps"] == 16
    for url in job.result["artifacts"].values():
        assert httpx.get(url).content.startswith(b"\x89PNG")
    run = httpx.get(f"{mlflow_server}/api/2.0/mlflow/runs/get", params={"run_id": job.mlflow_run_id}).json()["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert {"loss", "learning_rate", "images_per_second", "miou_96", "export_pixel_agreement"} <= set(metrics)
    card = tracking_service.card(tracking_service.registered("trained"))
    assert card.calibration is not None
    assert card.calibration.rank_correlation == metrics["confidence_rank_correlation"]
    assert card.calibration.calibration_error == metrics["confidence_calibration_error"]
    assert card.calibration.mean_abs_error == metrics["confidence_mean_abs_error"] == job.result["confidence_mean_abs_error"]
    assert "final/confidence.png" in job.result["artifacts"]["confidence"]
    assert card.reference is not None
    assert card.reference.windows >= card.calibration.windows
    assert len(card.golden) == 4


def final_weights(mlflow_server, job):
    url = f"{mlflow_server}/get-artifact"
    return httpx.get(url, params={"path": "model/model.safetensors", "run_uuid": job.mlflow_run_id}).raise_for_status().content


@pytest.mark.long
def test_a_second_worker_takes_the_windows_from_the_first(tracking_service, worker, worker_for, mlflow_server, tmp_path):
    dataset = tracking_service.imported(worker, **GENERATED)
    first = tracking_service.training(dataset["name"])
    worker.run_job(first)
    other = worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server, cache_dir=tmp_path / "elsewhere")
    second = tracking_service.training(dataset["name"])
    other.run_job(second)
    phases = {phase for phase in ("prepare", "fetch") if f'"{phase}"' in tracking_service.events(second)}
    assert phases == {"fetch"}
    jobs = [tracking_service.job(each) for each in (first, second)]
    assert jobs[0].result["miou_96"] == jobs[1].result["miou_96"]


@pytest.mark.long
def test_a_killed_training_resumes_and_ends_with_the_same_weights(
    tracking_service, worker, worker_for, mlflow_server, tmp_path
):
    dataset = tracking_service.imported(worker, **GENERATED)
    recipe = {"samples": 400, "evaluate_every": 30, "checkpoint_every": 5}
    undisturbed = tracking_service.training(dataset["name"], recipe=recipe)
    worker.run_job(undisturbed)
    disturbed = tracking_service.training(dataset["name"], recipe=recipe)
    for cache, steps in (("cache", 12), ("elsewhere", 30)):  # the second attempt runs elsewhere: it needs the upload
        supervisor = worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server, cache_dir=tmp_path / cache)
        running = Running(supervisor, disturbed)
        wait_until(lambda: done(tracking_service.job(disturbed)) >= steps, what=f"step {steps}", timeout_s=120)  # noqa: B023
        supervisor._attempts[disturbed]._child._process.kill()
        finish = running.wait()
        assert finish is not None
        assert finish.crashed
    worker.run_job(disturbed)
    logs = tracking_service.logs(disturbed)
    assert logs.count("resumed at step") == 2, logs
    one, other = (tracking_service.job(each) for each in (undisturbed, disturbed))
    assert other.attempt == 3
    assert one.result["miou_96"] == other.result["miou_96"]
    assert final_weights(mlflow_server, one) == final_weights(mlflow_server, other)


def done(job) -> int:
    return job.progress.done if job.progress is not None and job.progress.phase == "train" else 0


@pytest.mark.slow
def test_two_processes_train_one_model(tracking_service, worker):
    dataset = tracking_service.imported(worker, **GENERATED)
    job_id = tracking_service.training(dataset["name"], compute={"processes": 2, "threads": 1})
    worker.run_job(job_id)
    job = tracking_service.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job_id))


@pytest.mark.faults
def test_a_dataset_whose_folder_is_gone_fails_with_advice(tracking_service, worker):
    folder = tracking_service.folder / "data" / "shapes"
    generate(GeneratorSource(images=12, width=160, height=128), folder)
    splits = [{"split": "all", "images": "images", "annotations": "instances.json"}]
    rule = {"from_split": "all", "fractions": {"train": 0.7, "val": 0.3}}
    dataset = tracking_service.imported(worker, kind="folder", root=str(folder), splits=splits, split_rule=rule)
    assert dataset["state"] == "ready", dataset
    folder.rename(folder.with_name("moved"))
    job_id = tracking_service.training(dataset["name"])
    worker.run_job(job_id)
    error = tracking_service.job(job_id).error
    assert error is not None
    assert error.type == "dataset_gone"
    assert str(folder) in error.message
    assert "back" in error.hint


WORKER = """
import sys
from workers.harness.settings import WorkerSettings
from workers.harness.supervisor import Supervisor
supervisor = Supervisor(WorkerSettings(spare_child=False))
supervisor.run_job(sys.argv[1])
supervisor.close()
"""


@pytest.mark.faults
def test_a_full_disk_fails_the_job_with_advice(tracking_service, worker, mlflow_server, tmp_path):
    dataset = tracking_service.imported(worker, **GENERATED)
    job_id = tracking_service.training(dataset["name"])
    (tmp_path / "small").mkdir()
    # A mount of the worker's own: room for the windows, not for a checkpoint of 20 MB.
    script = f'mount -t tmpfs -o size=16m tmpfs {tmp_path}/small && exec "$0" -c "$1" "$2"'
    values = {
        "JOBS_URL": tracking_service.url,
        "API_KEY_FILE": str(tracking_service.folder / "worker.key"),
        "MLFLOW_URL": mlflow_server,
        "CACHE_DIR": f"{tmp_path}/small",
    }
    environment = os.environ | {f"PICOFLEET_WORKER_{name}": value for name, value in values.items()}
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, sys.executable, WORKER, job_id]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    if "Operation not permitted" in ran.stderr:
        pytest.skip("this machine allows no mounts in a namespace of one's own")
    job = tracking_service.job(job_id)
    assert job.error is not None, ran.stdout + ran.stderr
    assert job.error.type == "disk_full"
    assert "Free space" in job.error.hint
