"""Loading and unloading by Triton's clients, with a real registry."""

import pytest
from tritonclient.utils import InferenceServerException

from shared.kit.mlflow_api import MlflowApi
from shared.picosam.prompt import to_input
from tests.conftest import wait_for
from tests.services.inference.oip.test_triton import of_module, states
from tests.services.inference.registered import Registry


@pytest.fixture
def mlflow_url(mlflow_server):
    return mlflow_server


@pytest.fixture
def settings(settings):
    """With the loops that load what is deployed."""
    return settings.model_copy(update={"run_loops": True})


@pytest.fixture
def registry(mlflow_server, networks):
    """The registry, with a model of the test's own."""
    with MlflowApi(mlflow_server) as mlflow:
        yield Registry(mlflow, networks)


def test_a_registered_model_is_loaded_asked_and_unloaded(triton, registry, operator, windows):
    client, module = triton
    registry.register(0)
    as_metadata = {name.lower(): value for name, value in operator.items()}
    assert (registry.name, "1", "UNAVAILABLE") in states(client.get_model_repository_index(headers=as_metadata))
    client.load_model(registry.name, headers=as_metadata)
    assert (registry.name, "1", "READY") in states(client.get_model_repository_index(headers=as_metadata))
    answer = client.infer(registry.name, [of_module(module, to_input(windows))], headers=dict(as_metadata))
    assert answer.as_numpy("logits").shape == (3, 1, 96, 96)
    client.unload_model(registry.name, headers=as_metadata)
    wait_for(lambda: not client.is_model_ready(registry.name, headers=as_metadata), what="the end of the deployment")
    with pytest.raises(InferenceServerException, match="no deployment"):
        client.unload_model(registry.name, headers=as_metadata)


def test_the_champion_is_loaded_before_newer_versions_and_a_named_version_before_it(client, registry, operator):
    champion = registry.register(0)
    newer = registry.register(1)
    registry.promote(champion)
    path, model = f"/v2/repository/models/{registry.name}/load", f"/v2/models/{registry.name}"
    assert client.post(path, headers=operator).status_code == 200
    assert client.get(model, headers=operator).json()["versions"] == ["1"]
    deployment = f"/v1/deployments/{registry.name}"
    client.put(deployment, json={"versions": [{"model": champion}], "max_queue": 7}, headers=operator).raise_for_status()
    named = {"parameters": {"version": newer.rpartition("/")[2]}}
    assert client.post(path, json=named, headers=operator).status_code == 200
    assert client.get(model, headers=operator).json()["versions"] == ["2"]
    assert client.get(deployment, headers=operator).json()["spec"]["max_queue"] == 7


def test_what_cannot_be_loaded_is_refused_with_a_reason(client, registry, operator):
    damaged = registry.register_files({"model.onnx": b"nothing", "config.json": b"{}"}, tags={})
    cases = [
        (registry.name, {"version": damaged.rpartition("/")[2]}, 409, "cannot be served"),
        (registry.name, {"version": "99"}, 422, "registry has no"),
        (registry.name, {"version": "../1"}, 400, "a version by its number"),
        (registry.name, {"version": 1}, 400, "version must be a text"),
        ("No Model", {}, 400, "by its name"),
        ("no-model", {}, 404, "registry has no no-model"),
    ]
    for name, parameters, status, message in cases:
        answer = client.post(f"/v2/repository/models/{name}/load", json={"parameters": parameters}, headers=operator)
        assert (answer.status_code, message in answer.json()["error"]) == (status, True), answer.text
