"""Whole quantizations: real jobs service, real MLflow, real children, the real toolkit and ONNX Runtime."""

import json

import httpx
import pytest

from shared.contracts.jobs import JobState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
GENERATED = {"kind": "generator", "images": 30, "width": 160, "height": 128, "max_objects": 3}


@pytest.fixture(scope="module")
def trained(tracking_service, worker):
    """A dataset's name and a float version, trained for a moment."""
    dataset = tracking_service.imported(worker, **GENERATED)["name"]
    job_id = tracking_service.training(dataset, register_as="plain", recipe={"samples": 160})
    worker.run_job(job_id)
    tracking_service.registered("plain")
    return dataset, "plain/1"


def submitted(service, trained, **changes):
    dataset, model = trained
    body = {
        "model": model,
        "calibration": {"dataset": {"dataset": dataset, "split": "train"}, "samples": 16, "allow_unusual": True},
        "validation": {"dataset": dataset, "split": "val"},
        "gates": {"max_miou_drop": 1},
        "pictures": 2,
        "comparison": {"resamples": 200},
        "compute": {"threads": 1},
    }
    return service.client.post("/v1/jobs/quantization", json=body | changes)


def quantized(service, worker, trained, **changes):
    answer = submitted(service, trained, **changes)
    assert answer.status_code == 201, answer.text
    worker.run_job(answer.json()["id"])
    return service.job(answer.json()["id"])


@pytest.fixture(scope="module")
def for_sensor(tracking_service, worker, trained):
    job = quantized(tracking_service, worker, trained)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    return job


def test_a_float_version_becomes_one_for_the_sensor(tracking_service, for_sensor):
    made = tracking_service.registered("plain.imx500")
    assert {"model.onnx", "model.mctq.onnx", "config.json", "MLmodel"} <= set(made["artifacts"])
    assert "plain/1" in made["parents"]
    assert made["tags"]["picofleet.parent_version"] == "plain/1"
    assert made["tags"]["picofleet.quantization"] == "fake_quant"
    assert made["metrics"]["size_bytes"] == for_sensor.result["size_bytes"] < 1.3e6
    assert len(tracking_service.card(made).golden) == 4


def test_its_report_tells_what_was_lost_and_where(for_sensor):
    result = for_sensor.result
    assert {"miou_96", "float/miou_96", "miou_96_drop", "miou_96_drop_low", "miou_96_drop_high", "hit_rate_50_95"} <= set(
        result
    )
    assert result["miou_96_drop"] == pytest.approx(result["float/miou_96"] - result["miou_96"], abs=1e-9)
    assert result["reference_codes"] >= 0.998
    assert result["bits"]["weights"] == {"8": 27}
    files = {name: httpx.get(url).raise_for_status().content for name, url in result["artifacts"].items()}
    assert set(files) == {"report", "noise", "ranges", "hit_rate", "iou_by_size", "samples_changed"}
    report = json.loads(files.pop("report"))
    assert {layer["name"] for layer in report["layers"]} > {"encoder_stage1.0", "output_head"}
    assert all(content.startswith(b"\x89PNG") for content in files.values())


def test_a_quantized_version_is_not_quantized_again_but_can_be_evaluated(tracking_service, worker, trained, for_sensor):
    tracking_service.registered("plain.imx500")
    answer = submitted(tracking_service, trained, model="plain.imx500/1")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error["hint"]) == ("body.model", "name the float version that it was made from, plain/1")
    body = {"models": [{"model": "plain.imx500/1"}], "pictures": 0}
    body |= {"dataset": {"dataset": trained[0], "split": "val"}, "comparison": {"resamples": 100}}
    job_id = tracking_service.client.post("/v1/jobs/evaluation", json=body).raise_for_status().json()["id"]
    worker.run_job(job_id)
    assert tracking_service.job(job_id).result["miou_96"] == pytest.approx(for_sensor.result["miou_96"], abs=1e-6)


def test_a_float_version_becomes_one_for_cpus(tracking_service, worker, trained):
    job = quantized(tracking_service, worker, trained, platform="cpu")
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    made = tracking_service.registered("plain.int8")
    assert "model.mctq.onnx" not in made["artifacts"]
    assert made["tags"]["picofleet.quantization"] == "int8"
    card = tracking_service.card(made)
    assert card.network_digest != tracking_service.card(tracking_service.registered("plain")).network_digest
    assert card.calibration is None or card.calibration.rank_correlation == job.result["confidence_rank_correlation"]
    assert job.result["size_bytes"] < 1.4e6


@pytest.mark.parametrize(("method", "knobs"), [("qat", {"samples": 16, "batch_size": 8}), ("gptq", {"epochs": 1})])
def test_the_other_methods_come_to_their_end_too(tracking_service, worker, trained, method, knobs):
    job = quantized(tracking_service, worker, trained, method=method, imx500={method: knobs}, register_as=None)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    assert job.result["reference_codes"] >= 0.998
    assert abs(job.result["miou_96_drop"]) < 0.1


def test_a_gate_fails_the_job_with_figures_and_advice_and_keeps_the_report(tracking_service, worker, trained):
    job = quantized(tracking_service, worker, trained, platform="cpu", gates={"max_size_bytes": 1000}, register_as="none")
    assert (job.state, job.error.type) == (JobState.FAILED, "quantization_gate")
    assert "gates.max_size_bytes is 1,000" in job.error.message
    assert "narrower architecture" in job.error.hint
    assert tracking_service.version("none") is None
    assert job.mlflow_run_id


def test_an_unreachable_size_names_the_smallest(tracking_service, worker, trained):
    job = quantized(tracking_service, worker, trained, imx500={"mixed_precision": {"max_weights_bytes": 1000}})
    assert (job.state, job.error.type) == (JobState.FAILED, "size_out_of_reach")
    assert "328,709" in job.error.message
