"""Whole packaging jobs: real jobs service, real MLflow, real children, Sony's real converter."""

import gzip
import json

import httpx
import numpy as np
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from shared.contracts.jobs import JobState
from shared.contracts.packages import TrustedKeys
from shared.kit.packages.converted import read_converted
from shared.kit.packages.golden import passes, read_golden
from shared.kit.packages.tars import opened
from shared.kit.packages.verifying import verify
from shared.picosam.golden import MISTAKES, Reference

pytestmark = [pytest.mark.converter, pytest.mark.slow, pytest.mark.timeout(900)]
GENERATED = {"kind": "generator", "images": 40, "width": 160, "height": 128, "max_objects": 3}
COMPUTE = {"threads": 1}


def done(service, worker, kind, **body):
    answer = service.client.post(f"/v1/jobs/{kind}", json=body)
    assert answer.status_code == 201, answer.text
    worker.run_job(answer.json()["id"])
    return service.job(answer.json()["id"])


@pytest.fixture(scope="module")
def dataset(toolchain, tracking_service, worker):
    """A dataset's name. Asks for the toolchain first: without it nothing is trained in vain."""
    return tracking_service.imported(worker, **GENERATED)["name"]


@pytest.fixture(scope="module")
def quantized(tracking_service, worker, dataset):
    """A version for the sensor, of a network that was trained for a moment."""
    job_id = tracking_service.training(dataset, register_as="door", recipe={"samples": 160})
    worker.run_job(job_id)
    tracking_service.registered("door")
    calibration = {"dataset": {"dataset": dataset, "split": "train"}, "samples": 32, "allow_unusual": True}
    body = {"model": "door/1", "calibration": calibration, "gates": {"max_miou_drop": 1}, "compute": COMPUTE}
    body |= {"validation": {"dataset": dataset, "split": "val"}, "comparison": {"resamples": 100}, "pictures": 0}
    job = done(tracking_service, worker, "quantization", **body)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    tracking_service.registered("door.imx500")
    return "door.imx500/1"


@pytest.fixture(scope="module")
def packaged(tracking_service, worker, dataset, quantized):
    golden = {"dataset": {"dataset": dataset, "split": "val"}}
    job = done(tracking_service, worker, "packaging", model=quantized, golden=golden, notes="For doors.", labels=["door"])
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    return job


@pytest.fixture(scope="module")
def package(tracking_service, packaged, tmp_path_factory):
    """The signed package as a user downloads it."""
    path = tmp_path_factory.mktemp("package") / "door.tar"
    path.write_bytes(tracking_service.client.get("/v1/packages/door/1/file").raise_for_status().content)
    return path


@pytest.fixture(scope="module")
def folder(package):
    with opened(package) as folder:
        yield folder


def test_a_quantized_version_becomes_a_signed_package(tracking_service, packaged, package, quantized):
    keys = TrustedKeys.model_validate_json(tracking_service.client.get("/v1/package-keys").raise_for_status().content)
    manifest = verify(package, keys).manifest
    assert (manifest.line, manifest.release, manifest.rpk) == ("door", 1, "pending")
    assert (manifest.lineage.job, manifest.lineage.parent) == (packaged.id, quantized)
    assert len(manifest.lineage.datasets) == 1
    assert 0.4 < manifest.memory.utilization < 0.5
    assert packaged.result["package"] == {output.name: output for output in packaged.outputs}["package"].blob
    assert len(gzip.compress(package.read_bytes())) < 4e6


def test_its_version_names_its_parent_and_is_not_used_as_a_network(tracking_service, packaged, quantized):
    made = tracking_service.registered("door.package")
    assert quantized in made["parents"]
    assert made["tags"]["picofleet.release"] == "door/1"
    assert made["tags"]["picofleet.package"] == packaged.result["package"]
    assert {"model_card.md", "ml-bom.json", "memory_report.json", "golden/golden.json", "pictures/memory.png"} <= set(
        made["artifacts"]
    )
    assert not {"packerOut.zip", "reference.onnx"} & set(made["artifacts"])
    assert tracking_service.client.get("/v1/packages/door/1").json()["registered_as"] == "door.package/1"
    refused = tracking_service.client.post("/v1/jobs/packaging", json={"model": "door.package/1", "dry_run": True})
    assert refused.json()["errors"][0]["hint"] == f"name the version that it was made from, {quantized}"


def test_the_golden_frames_are_the_reference_s_answers_and_show_a_wrong_input(folder, packaged):
    golden = read_golden(folder)
    windows = np.frombuffer(golden.inputs, np.uint8).reshape(golden.described.input.shape)
    assert len(windows) == 8
    reference = Reference(folder / "reference.onnx", threads=1)
    assert passes(golden, reference.codes(windows).tobytes(), packaged_tolerance())
    for name, mistake in MISTAKES.items():
        assert not passes(golden, reference.codes(mistake(windows)).tobytes(), packaged_tolerance()), name
        assert packaged.result[f"golden_{name}"] < 0.9
    (network,) = read_converted(folder / "packerOut.zip").networks
    assert network.outputs[0].step == golden.described.output_scale
    assert network.name == "door"


def packaged_tolerance():
    from shared.contracts.packages import GoldenTolerance

    return GoldenTolerance()


def test_the_model_card_tells_figures_data_and_origin(folder):
    card = (folder / "model_card.md").read_text()
    for part in (
        "# door: door.imx500/1",
        "For doors.",
        "| `miou_96` | 0.",
        "| `agreement_mask` |  | ",
        "door/1",
        "method ptq",
        "train",
        "imx500-converter 3.19",
    ):
        assert part in card, part
    for picture in ("memory", "hit_rate", "noise"):
        assert f"](pictures/{picture}.png)" in card
        assert (folder / f"pictures/{picture}.png").read_bytes().startswith(b"\x89PNG")


def test_the_bill_of_materials_is_cyclonedx_with_a_model_card(folder):
    text = (folder / "ml-bom.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert "timestamp" not in bill["metadata"]
    model = bill["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "door.imx500", "1")
    measured = {each["type"] for each in model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]}
    assert {"miou_96", "agreement_mask"} <= measured
    parts = {part["name"]: part for part in bill["components"]}
    assert {"imx500-converter", "model-compression-toolkit", "torch"} <= parts.keys()
    assert any(part["type"] == "data" for part in bill["components"])


def test_the_camera_is_told_labels_and_region(folder):
    told = json.loads((folder / "network_intrinsics.json").read_text())
    assert told["classes"]["labels"] == ["door"]
    assert told["picofleet"]["roi"] == {"prompt": "point", "side_share": 0.15, "box_margin": 0.1, "border": "shrink"}
    assert told["picofleet"]["input"] == {"width": 96, "height": 96, "color_order": "RGB", "scale": 1 / 256}


def test_mlflow_has_the_figures(packaged, mlflow_server):
    answer = httpx.get(f"{mlflow_server}/api/2.0/mlflow/runs/get", params={"run_id": packaged.mlflow_run_id})
    figures = {each["key"]: each["value"] for each in answer.json()["run"]["data"]["metrics"]}
    assert {"memory_used_bytes", "memory_utilization", "package_bytes", "converter_seconds", "golden_bgr"} <= figures.keys()
    assert packaged.result["added_seconds"] < 60


def test_a_gate_fails_even_a_dry_run_and_nothing_is_made(tracking_service, worker, quantized):
    job = done(tracking_service, worker, "packaging", model=quantized, dry_run=True, max_memory_utilization=0.3)
    assert (job.state, job.error.type) == (JobState.FAILED, "memory_limit_exceeded")
    assert "max_memory_utilization" in job.error.hint
    assert tracking_service.client.get("/v1/packages/door").json()["release"] == 1
