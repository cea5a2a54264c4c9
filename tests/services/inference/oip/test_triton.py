"""The protocol as a client meets it that nobody here wrote."""

import asyncio
import threading

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from shared.picosam.prompt import to_input
from tests.conftest import wait_for


def of_module(module, values, name="window", datatype="FP32", **how):
    """An input of Triton's client."""
    tensor = module.InferInput(name, list(values.shape), datatype)
    tensor.set_data_from_numpy(values, **how)
    return tensor


def test_the_server_and_its_models_describe_themselves(triton, deployed, viewer):
    client, module = triton
    deployed("street")
    as_text = {"headers": viewer} | ({"as_json": True} if module.__name__.endswith("grpc") else {})
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata(**as_text)["extensions"]
    model = client.get_model_metadata("street", **as_text)
    assert model["versions"] == ["1"]
    assert model["platform"] == "onnxruntime_onnx"
    assert [(one["name"], one["datatype"], [int(n) for n in one["shape"]]) for one in model["inputs"] + model["outputs"]] == [
        ("window", "FP32", [-1, 3, 96, 96]),
        ("logits", "FP32", [-1, 1, 96, 96]),
    ]
    config = client.get_model_config("street", **as_text)
    assert "UINT8" in (config.get("config") or config)["parameters"]["pixels"]["string_value"]


def test_logits_are_those_of_the_network(triton, deployed, viewer, windows):
    client, module = triton
    served = deployed("street", seed=1)
    answer = client.infer("street", [of_module(module, to_input(windows))], request_id="a7", headers=viewer)
    expected = served.parts[0].loaded.logits(windows)
    assert answer.as_numpy("logits").shape == (3, 1, 96, 96)
    assert np.allclose(answer.as_numpy("logits")[:, 0], expected, atol=1e-4)
    response = answer.get_response()
    head = response if isinstance(response, dict) else {"id": response.id, "model_version": response.model_version}
    assert (head["id"], head["model_version"]) == ("a7", "2")


def test_pixels_may_be_sent_instead_of_windows(triton, deployed, viewer, windows):
    client, module = triton
    deployed("street")
    outputs = [module.InferRequestedOutput("logits")]
    of_pixels = client.infer("street", [of_module(module, windows, "pixels", "UINT8")], outputs=outputs, headers=viewer)
    of_window = client.infer("street", [of_module(module, to_input(windows))], outputs=outputs, headers=viewer)
    assert np.array_equal(of_pixels.as_numpy("logits"), of_window.as_numpy("logits"))


def test_tensors_as_json_give_the_same_logits_to_the_bit(by_http, deployed, viewer, windows):
    module = tritonclient.http
    deployed("street")
    binary = by_http.infer("street", [of_module(module, to_input(windows))], headers=dict(viewer)).as_numpy("logits")
    tensor = of_module(module, to_input(windows), binary_data=False)
    outputs = [module.InferRequestedOutput("logits", binary_data=False)]
    assert np.array_equal(by_http.infer("street", [tensor], outputs=outputs, headers=viewer).as_numpy("logits"), binary)


def test_a_version_may_be_named(triton, deployed, viewer, windows):
    client, module = triton
    deployed("street", seed=1)
    ask = [of_module(module, to_input(windows))]
    assert client.infer("street", ask, model_version="2", headers=viewer).as_numpy("logits") is not None
    assert client.is_model_ready("street", "2", headers=viewer)
    assert not client.is_model_ready("street", "1", headers=viewer)
    assert not client.is_model_ready("road", headers=viewer)
    with pytest.raises(InferenceServerException, match="has no version '1'; it has 2"):
        client.infer("street", ask, model_version="1", headers=viewer)


WRONG = {
    "no input 'picture'": {"name": "picture"},
    "expected is FP32": {"datatype": "FP64", "values": np.zeros((1, 3, 96, 96))},
    r"\[1, 3, 95, 96\]; expected is \[-1, 3, 96, 96\]": {"values": np.zeros((1, 3, 95, 96), np.float32)},
    "1 to 256 windows": {"values": np.zeros((257, 3, 96, 96), np.float32)},
    "no finite numbers": {"values": np.full((1, 3, 96, 96), np.nan, np.float32)},
    "far from pixel/256": {"values": np.full((1, 3, 96, 96), 3e38, np.float32)},
}


def test_wrong_tensors_are_refused_with_a_reason(triton, deployed, viewer):
    client, module = triton
    deployed("street")
    for message, change in WRONG.items():
        tensor = of_module(module, **{"values": np.zeros((1, 3, 96, 96), np.float32)} | change)
        with pytest.raises(InferenceServerException, match=message) as refusal:
            client.infer("street", [tensor], headers=viewer)
        assert refusal.value.status() in {"400", "StatusCode.INVALID_ARGUMENT"}


def test_strangers_and_unknown_models_are_refused(triton, deployed, viewer):
    client, _ = triton
    deployed("street")
    unknown, absent = {"401", "StatusCode.UNAUTHENTICATED"}, {"404", "StatusCode.NOT_FOUND"}
    wrong_key = {"authorization": "Bearer pf_" + "x" * 43}
    cases = [({}, "street", unknown), (wrong_key, "street", unknown), (viewer, "road", absent), (viewer, "r" * 5000, absent)]
    for headers, model, statuses in cases:
        with pytest.raises(InferenceServerException) as refusal:
            client.get_model_metadata(model, headers=headers)
        assert refusal.value.status() in statuses


def test_a_viewer_loads_and_unloads_nothing(triton, deployed, viewer):
    client, _ = triton
    deployed("street")
    for ask in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="needs operator") as refusal:
            ask("street", headers=viewer)
        assert refusal.value.status() in {"403", "StatusCode.PERMISSION_DENIED"}


def states(index):
    """Of an index, as HTTP or gRPC has it: name, version and state of each line."""
    if isinstance(index, list):
        return [(one["name"], one["version"], one["state"]) for one in index]
    return [(one.name, one.version, one.state) for one in index.models]


def test_the_index_lists_what_is_deployed_while_the_registry_is_away(triton, deployed, viewer):
    client, _ = triton
    deployed("street", seed=2)
    assert states(client.get_model_repository_index(headers=viewer)) == [("street", "3", "READY")]


def test_a_full_queue_is_told_from_other_refusals(triton, deployed, viewer, windows):
    client, module = triton
    served = deployed("street", parallel=1, max_queue=1)
    begun, release = threading.Event(), threading.Event()

    def slow(alone):
        begun.set()
        return release.wait(30)

    async def fill():
        await asyncio.gather(*(served.desk.do(slow, deadline_s=60) for _ in range(2)))

    filling = threading.Thread(target=asyncio.run, args=(fill(),))
    filling.start()
    assert begun.wait(30)
    try:
        with pytest.raises(InferenceServerException, match="the queue holds 1") as refusal:
            client.infer("street", [of_module(module, to_input(windows))], headers=viewer)
    finally:
        release.set()
        filling.join(30)
    assert refusal.value.status() in {"429", "StatusCode.RESOURCE_EXHAUSTED"}


def test_a_client_that_gave_up_is_told_so_and_counted_as_one_that_left(by_grpc, deployed, viewer, windows, client):
    served = deployed("street", parallel=1)
    release = threading.Event()

    def slow(alone):
        return release.wait(30)

    filling = threading.Thread(target=asyncio.run, args=(served.desk.do(slow, deadline_s=60),))
    filling.start()
    ask = [of_module(tritonclient.grpc, to_input(windows))]
    try:
        with pytest.raises(InferenceServerException) as refusal:
            by_grpc.infer("street", ask, headers=viewer, client_timeout=0.5)
    finally:
        release.set()
        filling.join(30)
    assert refusal.value.status() == "StatusCode.DEADLINE_EXCEEDED"
    left = 'picofleet_inference_requests_total{deployment="street",model="net/1",outcome="left"} 1.0'
    wait_for(lambda: left in client.get("/metrics", headers=viewer).text, what="the count")
