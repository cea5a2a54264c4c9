"""Whole evaluations: real jobs service, real MLflow, real children, registered models."""

import csv
import io
import json

import httpx
import pytest

from shared.contracts.datasets import GeneratorSource
from shared.contracts.jobs import JobState
from shared.picosam.data.generator import generate
from tests.shared.picosam.lvis_form import as_lvis
from tests.workers.conftest import wait_until

GENERATED = {"kind": "generator", "images": 24, "width": 160, "height": 128, "max_objects": 3}


@pytest.fixture(scope="module")
def dataset(tracking_service, worker):
    return tracking_service.imported(worker, **GENERATED)


@pytest.fixture(scope="module")
def trained(tracking_service, worker, dataset):
    """Two students, trained for a moment: the jobs by name/version."""
    return dict(a_model(tracking_service, worker, dataset, seed=seed) for seed in (0, 1))


def a_model(service, worker, dataset, *, seed):
    name = f"student{seed}"
    job_id = service.training(dataset["name"], register_as=name, recipe={"seed": seed})
    worker.run_job(job_id)
    job = service.job(job_id)
    assert job.state is JobState.SUCCEEDED, (job.error, service.logs(job_id))
    wait_until(lambda: service.client.get(f"/v1/models/{name}/versions/1").is_success, what=f"{name}/1 in the registry")
    return f"{name}/1", job


def evaluated(service, worker, dataset, *models, **changes):
    body = {"models": [{"model": name} if isinstance(name, str) else name for name in models], "pictures": 2}
    body |= {"dataset": {"dataset": dataset["name"], "split": "val"}, "comparison": {"resamples": 200}} | changes
    answer = service.client.post("/v1/jobs/evaluation", json=body)
    assert answer.status_code == 201, answer.text
    worker.run_job(answer.json()["id"])
    return service.job(answer.json()["id"])


def artifact(job, name):
    return httpx.get(job.result["artifacts"][name]).raise_for_status()


def test_an_evaluation_finds_what_the_training_found_and_draws_it(tracking_service, worker, mlflow_server, dataset, trained):
    model, training = next(iter(trained.items()))
    job = evaluated(tracking_service, worker, dataset, model)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    shared = [name for name in training.result if name.startswith(("miou_96", "hit_rate", "mask_ap"))]
    assert {"miou_96", "miou_96_pad", "hit_rate_50_95", "mask_ap", "mask_ap_pad"} <= set(shared)
    # The training scored in torch, the evaluation in ONNX Runtime: a cell or two may fall on the other side.
    assert {name: job.result[name] for name in shared} == pytest.approx(
        {name: training.result[name] for name in shared}, abs=2e-3
    )
    assert {"miou_96_clamp", "miou_96_shrink", "miou_96_unclipped"} <= set(job.result)
    pictures = {"iou_histogram", "iou_by_size", "hit_rate", "samples_worst", "samples_median", "samples_best"}
    assert pictures | {"prompts", "categories"} == set(job.result["artifacts"])
    assert all(artifact(job, name).content.startswith(b"\x89PNG") for name in pictures)
    run = httpx.get(f"{mlflow_server}/api/2.0/mlflow/runs/get", params={"run_id": job.mlflow_run_id}).json()["run"]
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics["miou_96"] == job.result["miou_96"]
    assert run["info"]["status"] == "FINISHED"


def test_several_models_are_compared_on_the_same_prompts(tracking_service, worker, dataset, trained):
    first, second = trained
    asked = [first, second, {"model": first, "runtime": "torch"}]
    job = evaluated(tracking_service, worker, dataset, *asked, max_prompts=5, jitter=[0, 0.2], borders=["pad", "authors"])
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    assert job.result["prompts"] == 5
    assert [each["model"] for each in job.result["models"]] == [first, second, first]
    gap = next(each for each in job.result["comparisons"] if each["figure"] == "miou_96_pad")
    figures = [each["figures"]["miou_96_pad"] for each in job.result["models"]]
    assert gap["mean"] == pytest.approx(figures[1] - figures[0])
    assert gap["low"] <= gap["mean"] <= gap["high"]
    assert 0 < gap["p_value"] <= 1
    assert figures[2] == pytest.approx(figures[0], abs=2e-3)  # the same weights in the other runtime
    assert job.result["miou_96_pad_jitter_0"] == job.result["miou_96_pad"]
    assert 0 <= job.result["miou_96_pad_jitter_20"] <= 1
    rows = list(csv.DictReader(io.StringIO(artifact(job, "prompts").text)))
    assert len(rows) == 2 * 5
    mean = sum(float(row[f"{second} (onnx)"]) for row in rows if row["figure"] == "miou_96_pad") / 5
    assert mean == pytest.approx(figures[1], abs=1e-5)
    assert {"differences", "jitter"} <= set(job.result["artifacts"])


def test_box_prompts_are_shown_beside_a_filled_box_and_an_ellipse(tracking_service, worker, dataset, trained):
    model, _ = trained
    windows = [{"prompt": "box"}, {"prompt": "point"}]
    job = evaluated(tracking_service, worker, dataset, model, windows=windows, jitter=[0.3])
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    assert set(job.result["baselines"]) == {"filled_box", "ellipse"}
    assert {"miou_box", "hit_rate_50_95_box", "miou_box_jitter_30", "mask_ap_box"} <= set(job.result["baselines"]["ellipse"])
    assert {"miou_box", "miou_96", "miou_box_jitter_30", "miou_96_jitter_30"} <= set(job.result)
    assert "ellipse, which needs no network: miou_box" in tracking_service.logs(job.id)


@pytest.mark.long
def test_a_dataset_in_lvis_layout_has_lviss_figures_in_trainings_and_evaluations(tracking_service, worker):
    folder = tracking_service.folder / "data/lvis"
    generate(GeneratorSource(images=24, width=160, height=128, max_objects=3), folder)
    annotations = folder / "instances.json"
    annotations.write_text(json.dumps(as_lvis(json.loads(annotations.read_text()), seed=1)))
    source = {
        "root": str(folder),
        "format": "lvis",
        "splits": [{"split": "all", "images": "images", "annotations": "instances.json"}],
    }
    rule = {"from_split": "all", "fractions": {"train": 0.7, "val": 0.3}}
    dataset = tracking_service.imported(worker, "lvis", kind="folder", split_rule=rule, **source)
    assert dataset["state"] == "ready", dataset
    model, training = a_model(tracking_service, worker, dataset, seed=2)
    job = evaluated(tracking_service, worker, dataset, model, windows=[{"prompt": "point"}, {"prompt": "box"}])
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    by_frequency = {"mask_ap_rare", "mask_ap_common", "mask_ap_frequent"}
    assert by_frequency | {"mask_ap", "mask_ap_50", "mask_ap_box_pad"} <= set(job.result)
    shared = by_frequency | {f"{name}_pad" for name in by_frequency} | {"mask_ap", "mask_ap_pad"}
    found, wanted = ({name: each.result[name] for name in shared} for each in (job, training))
    assert found == pytest.approx(wanted, abs=2e-3)
    assert by_frequency <= {name.removesuffix("_box") for name in job.result["baselines"]["filled_box"]}
    assert job.result["baselines"]["filled_box"]["mask_ap_50_box"] > 0.3


def test_a_stop_ends_it(tracking_service, worker, dataset, trained):
    model, _ = trained
    body = {"models": [{"model": model}], "dataset": {"dataset": dataset["name"], "split": "val"}}
    job_id = tracking_service.client.post("/v1/jobs/evaluation", json=body).json()["id"]
    tracking_service.cancel(job_id)
    worker.run_job(job_id)
    assert tracking_service.job(job_id).state is JobState.CANCELLED
