"""Imports of weights: real jobs service, real MLflow, real children."""

import time
import uuid
from pathlib import Path

import pytest
import torch

from shared.contracts.base import digest_of
from shared.contracts.jobs import JobState
from shared.picosam.export import export_onnx
from shared.picosam.model import build_model
from shared.picosam.weights import ModelConfig, load_weights, save_weights
from workers.harness.kinds import MODULES


@pytest.fixture
def worker(tracking_service, worker_for, mlflow_server):
    return worker_for(tracking_service, modules=MODULES, mlflow_url=mlflow_server)


@pytest.fixture
def model():
    return build_model("picosam2", seed=7).eval()


@pytest.fixture
def import_file(tracking_service, worker):
    """Uploads a file, queues its import and runs it; the job's end and the name it registers under."""

    def run(path: Path, **body):
        name = f"imported-{uuid.uuid4().hex[:8]}"
        client = tracking_service.client
        client.post("/v1/blobs", content=path.read_bytes()).raise_for_status()
        body = {"blob": digest_of(path.read_bytes()), "register_as": name} | body
        job_id = client.post("/v1/models/import", json=body).raise_for_status().json()["id"]
        worker.run_job(job_id)
        return tracking_service.job(job_id), name

    return run


def registered(tracking_service, job, timeout_s=30):
    """The job's version, once the service has registered it."""
    give_up = time.monotonic() + timeout_s
    while True:
        (output,) = tracking_service.job(job.id).outputs
        if output.version is not None:
            path = f"/v1/models/{output.registered_model}/versions/{output.version}"
            return tracking_service.client.get(path).raise_for_status().json()
        assert time.monotonic() < give_up
        time.sleep(0.1)


def downloaded(tracking_service, version, file, to: Path) -> Path:
    answer = tracking_service.client.get(f"/v1/models/{version['name']}/versions/{version['version']}/artifacts/{file}")
    to.write_bytes(answer.raise_for_status().content)
    return to


def test_safetensors_become_a_version_with_the_same_weights(tracking_service, import_file, model, tmp_path):
    save_weights(model, tmp_path / "w.safetensors", ModelConfig())
    job, name = import_file(tmp_path / "w.safetensors", format="safetensors", description="ours", tags={"from": "test"})
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    version = registered(tracking_service, job)
    assert (version["name"], version["description"], version["tags"]["from"]) == (name, "ours", "test")
    assert {"MLmodel", "config.json", "model.onnx", "model.safetensors", "requirements.txt"} <= set(version["artifacts"])
    card = tracking_service.card(version)
    assert (len(card.golden), card.calibration, card.reference) == (4, None, None)
    found, _ = load_weights(downloaded(tracking_service, version, "model.safetensors", tmp_path / "back.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), found.state_dict().values(), strict=True))


def test_the_published_state_dict_gets_its_normalisation(tracking_service, import_file, model, tmp_path):
    published = {key: value for key, value in model.state_dict().items() if not key.startswith("input_norm.")}
    torch.save(published, tmp_path / "w.pt")
    job, _ = import_file(tmp_path / "w.pt", format="state_dict", input_scale="imagenet")
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    version = registered(tracking_service, job)
    found, _ = load_weights(downloaded(tracking_service, version, "model.safetensors", tmp_path / "back.safetensors"))
    x = torch.rand(2, 3, 96, 96)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    bare = build_model("picosam2", seed=7)
    bare.load_state_dict(published, strict=False)
    bare.input_norm = torch.nn.Identity()
    with torch.inference_mode():
        wanted = bare.eval()((x * 256 / 255 - mean) / std)
        torch.testing.assert_close(found(x), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["picosam2", "picosam3"])
def test_onnx_becomes_a_version(tracking_service, import_file, tmp_path, architecture):
    export_onnx(build_model(architecture, seed=7).eval(), tmp_path / "w.onnx")
    job, _ = import_file(tmp_path / "w.onnx", format="onnx", architecture=architecture)
    assert job.state is JobState.SUCCEEDED, (job.error, tracking_service.logs(job.id))
    version = registered(tracking_service, job)
    assert version["version"] == 1
    _, config = load_weights(downloaded(tracking_service, version, "model.safetensors", tmp_path / "back.safetensors"))
    assert config.architecture == architecture


@pytest.mark.parametrize("format_", ["safetensors", "onnx", "state_dict"])
def test_a_file_that_is_no_weights_fails_with_a_hint(import_file, tmp_path, format_):
    (tmp_path / "w").write_bytes(b"not weights at all" * 20)
    job, _ = import_file(tmp_path / "w", format=format_)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.type == "bad_weights"
    assert job.error.hint
    assert job.outputs == []
