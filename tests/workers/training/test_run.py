"""Whole trainings: real jobs service, real MLflow, real children."""

import httpx
import pytest

from shared.contracts.jobs import JobState
from workers.harness.kinds import MODULES

GENERATED = {"images": 24, "width": 160, "height": 128, "max_objects": 3}


@pytest.fixture
def worker(tracking_service, worker_for, mlflow_server):
    return worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server)


def test_a_training_leaves_figures_pictures_and_a_model(tracking_service, worker, mlflow_server):
    dataset = tracking_service.imported(worker, **GENERATED)
    assert dataset["state"] == "ready", dataset
    job_id = tracking_service.training(dataset["name"], register_as="picosam2")
    worker.run_job(job_id)
    job = tracking_service.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job_id))
    for name in ("miou_96", "miou_96_pad", "miou_96_unclipped", "hit_rate_50_95", "hit_rate_50_95_pad", "mask_ap"):
        assert 0 <= job.result[name] <= 1
    assert job.result["steps"] == 8
    for url in job.result["artifacts"].values():
        assert httpx.get(url).content.startswith(b"\x89PNG")
    run = httpx.get(f"{mlflow_server}/api/2.0/mlflow/runs/get", params={"run_id": job.mlflow_run_id}).json()["run"]
    assert run["info"]["status"] == "FINISHED"
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert {"loss", "learning_rate", "images_per_second", "miou_96", "export_pixel_agreement"} <= set(metrics)
