"""Whole distillations: real jobs service, real MLflow, real children, a real teacher."""

import time
import uuid

import httpx
import pytest

from shared.contracts.base import digest_of
from shared.contracts.jobs import JobState
from shared.picosam.model import build_model
from shared.picosam.weights import ModelConfig, save_weights
from tests.workers.conftest import Running, wait_until
from workers.harness.kinds import MODULES

GENERATED = {"kind": "generator", "images": 24, "width": 160, "height": 128, "max_objects": 3}
FEW = {"kind": "generator", "images": 6, "width": 160, "height": 128, "max_objects": 3}
RANDOM_SAM = {"kind": "sam2", "size": "tiny", "allow_random_weights": True}


@pytest.fixture
def worker(tracking_service, worker_for, mlflow_server):
    return worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server)


@pytest.fixture
def a_teacher(tracking_service, worker, tmp_path):
    """Registers a network of that seed; its name/version. Answers are kept: a test that asks needs a seed of its own."""

    def register(seed: int) -> str:
        path, name = tmp_path / f"teacher-{seed}.safetensors", f"teacher-{uuid.uuid4().hex[:8]}"
        save_weights(build_model("picosam2", seed=seed).eval(), path, ModelConfig())
        tracking_service.client.post("/v1/blobs", content=path.read_bytes()).raise_for_status()
        body = {"blob": digest_of(path.read_bytes()), "format": "safetensors", "register_as": name}
        job_id = tracking_service.client.post("/v1/models/import", json=body).raise_for_status().json()["id"]
        worker.run_job(job_id)
        return f"{name}/{version_of(tracking_service, job_id)['version']}"

    return register


def version_of(tracking_service, job_id):
    """The version that a job has registered, once it is there."""
    (output,) = wait_until(
        lambda: [each for each in tracking_service.job(job_id).outputs if each.version is not None],
        what=f"a version: {tracking_service.job(job_id).error}",
    )
    path = f"/v1/models/{output.registered_model}/versions/{output.version}"
    return tracking_service.client.get(path).raise_for_status().json()


def ended(tracking_service, worker, job_id):
    """The job, run to a good end."""
    worker.run_job(job_id)
    job = tracking_service.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job_id))
    return job


def the_run(mlflow_server, job):
    answer = httpx.get(f"{mlflow_server}/api/2.0/mlflow/runs/get", params={"run_id": job.mlflow_run_id})
    return answer.raise_for_status().json()["run"]


def taught_here(tracking_service, job_id) -> bool:
    return '"teach"' in tracking_service.events(job_id)


def test_a_student_learns_from_a_registered_model_and_says_so(tracking_service, worker, mlflow_server, a_teacher):
    dataset, teacher = tracking_service.imported(worker, **GENERATED), a_teacher(1)
    name = f"student-{uuid.uuid4().hex[:8]}"
    job_id = tracking_service.distillation(dataset["name"], {"kind": "model", "model": teacher}, register_as=name)
    job = ended(tracking_service, worker, job_id)
    assert {"miou_96", "miou_96_pad", "hit_rate_50_95", "mask_ap", "loss", "loss_teacher", "loss_mask"} <= set(job.result)
    assert job.result["steps"] == 8
    assert 0 <= job.result["teacher_iou"] <= 1
    assert job.result["teach_seconds"] > 0
    assert job.result["teacher_windows_per_second"] > 0
    run = the_run(mlflow_server, job)
    logged = {metric["key"] for metric in run["data"]["metrics"]}
    assert {"loss", "loss_teacher", "loss_mask", "teacher_weight", "teacher_iou", "miou_96", "images_per_second"} <= logged
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert (tags["picofleet.kind"], tags["picofleet.teacher"]) == ("distillation", teacher)
    version = version_of(tracking_service, job_id)
    assert version["tags"]["picofleet.teacher"] == teacher
    assert version["tags"]["picofleet.train"].startswith(f"{dataset['name']}/train@sha256:")


@pytest.mark.slow
def test_answers_are_kept_for_later_jobs_and_for_other_workers(
    tracking_service, worker, worker_for, mlflow_server, a_teacher, tmp_path
):
    dataset, teacher = tracking_service.imported(worker, **GENERATED), {"kind": "model", "model": a_teacher(2)}
    other = worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server, cache_dir=tmp_path / "elsewhere")
    jobs = [
        ended(tracking_service, by, tracking_service.distillation(dataset["name"], teacher, **changes))
        for by, changes in ((worker, {}), (worker, {}), (other, {}), (worker, {"distillation": {"weight": 0}}))
    ]
    assert [taught_here(tracking_service, job.id) for job in jobs] == [True, False, False, False]
    assert jobs[0].result["miou_96"] == jobs[1].result["miou_96"] == jobs[2].result["miou_96"]
    assert {job.result["teach_seconds"] for job in jobs} == {jobs[0].result["teach_seconds"]}
    assert jobs[0].result["loss"] != jobs[3].result["loss"]


@pytest.mark.slow
def test_another_teacher_is_asked_anew(tracking_service, worker, a_teacher):
    dataset = tracking_service.imported(worker, **GENERATED)
    jobs = []
    for seed in (3, 4):
        teacher = {"kind": "model", "model": a_teacher(seed)}
        jobs.append(ended(tracking_service, worker, tracking_service.distillation(dataset["name"], teacher)))
    assert all(taught_here(tracking_service, job.id) for job in jobs)
    assert jobs[0].result["loss_teacher"] != jobs[1].result["loss_teacher"]


@pytest.mark.slow
def test_sam_is_stopped_within_seconds_and_goes_on_where_it_was(tracking_service, worker, mlflow_server):
    """With random weights: it knows nothing, but runs as the published one does."""
    dataset = tracking_service.imported(worker, **FEW)
    changes = {"distillation": {"view": "image"}, "recipe": {"samples": 16}}
    job_id = tracking_service.distillation(dataset["name"], RANDOM_SAM, **changes)
    running = Running(worker, job_id)

    def answered() -> int:
        progress = tracking_service.job(job_id).progress
        return progress.done if progress is not None and progress.phase == "teach" else 0

    first = wait_until(answered, what="the first answer", timeout_s=120)
    asked = time.monotonic()
    tracking_service.cancel(job_id)
    finish = running.wait()
    assert time.monotonic() - asked < 30
    assert finish is not None
    assert finish.cancelled
    tracking_service.client.post(f"/v1/jobs/{job_id}/retry").raise_for_status()
    running = Running(worker, job_id)
    assert wait_until(answered, what="the answers", timeout_s=120) >= first
    running.wait(300)
    job = tracking_service.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job_id))
    tags = {tag["key"]: tag["value"] for tag in the_run(mlflow_server, job)["data"]["tags"]}
    assert tags["picofleet.teacher"] == "sam2.1-tiny@random"


def test_a_checkpoint_that_is_none_ends_the_job_before_any_window_is_cut(tracking_service, worker):
    dataset = tracking_service.imported(worker, **FEW)
    content = b"no checkpoint at all"
    tracking_service.client.post("/v1/blobs", content=content).raise_for_status()
    teacher = {"kind": "sam2", "size": "tiny", "checkpoint": {"digest": digest_of(content)}}
    # A window of its own, of which nothing has been prepared yet.
    job_id = tracking_service.distillation(dataset["name"], teacher, recipe={"window": {"side": 80}})
    worker.run_job(job_id)
    job = tracking_service.job(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert "checkpoint" in job.error.message
    assert job.error.hint
    assert '"prepare"' not in tracking_service.events(job_id)


def done(job) -> int:
    return job.progress.done if job.progress is not None and job.progress.phase == "train" else 0


@pytest.mark.long
def test_a_killed_distillation_ends_with_the_weights_of_an_undisturbed_one(
    tracking_service, worker, worker_for, mlflow_server, a_teacher, tmp_path
):
    dataset, teacher = tracking_service.imported(worker, **GENERATED), {"kind": "model", "model": a_teacher(5)}
    changes = {
        "recipe": {"samples": 240, "evaluate_every": 20, "checkpoint_every": 5},
        "distillation": {"weight": 1, "final_weight": 0.2, "schedule": "cosine"},
    }
    undisturbed = ended(tracking_service, worker, tracking_service.distillation(dataset["name"], teacher, **changes))
    disturbed = tracking_service.distillation(dataset["name"], teacher, **changes)
    supervisor = worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server, cache_dir=tmp_path / "cache")
    running = Running(supervisor, disturbed)
    wait_until(lambda: done(tracking_service.job(disturbed)) >= 12, what="step 12", timeout_s=120)
    supervisor._attempts[disturbed]._child._process.kill()
    assert running.wait().crashed
    job = ended(tracking_service, worker, disturbed)
    assert "resumed at step" in tracking_service.logs(disturbed)
    assert job.result["miou_96"] == undisturbed.result["miou_96"]
    assert final_weights(mlflow_server, job) == final_weights(mlflow_server, undisturbed)


def final_weights(mlflow_server, job):
    params = {"path": "model/model.safetensors", "run_uuid": job.mlflow_run_id}
    return httpx.get(f"{mlflow_server}/get-artifact", params=params).raise_for_status().content


@pytest.mark.long
def test_two_processes_distil_one_model(tracking_service, worker, a_teacher):
    dataset, teacher = tracking_service.imported(worker, **GENERATED), {"kind": "model", "model": a_teacher(6)}
    job_id = tracking_service.distillation(dataset["name"], teacher, compute={"processes": 2, "threads": 1})
    assert ended(tracking_service, worker, job_id).result["steps"] == 8
