"""ONNX files as they are given to the converter: of the right kind, of another, of none."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.workers.packaging.networks import unquantized
from workers.harness.errors import JobFailed
from workers.packaging.network_file import QUANTIZERS, Place, describe, read_network


def quantizer(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("ActivationPOTQuantizer", [source], [target], name=f"/{target}/Quantizer", domain=QUANTIZERS)


def write(path, nodes, *, shape=(1, 3, 96, 96)):
    """A network from ``x`` to ``y`` with one weight, as the toolkit writes them."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.zeros((3, 3, 1, 1), np.float32), "block1_0_bn.weight")
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph), str(path))
    return path


@pytest.fixture
def network(tmp_path):
    """Quantized; a CumSum behind a convolution, and another at the input."""
    nodes = [
        quantizer("x", "q"),
        helper.make_node("CumSum", ["q", "axis"], ["c0"], name="/CumSum"),
        helper.make_node("Conv", ["c0", "block1_0_bn.weight"], ["c"], name="/block1_0_bn/layer/Conv"),
        helper.make_node("Relu", ["c"], ["r"], name="/Relu"),
        quantizer("r", "qr"),
        helper.make_node("CumSum", ["qr", "axis"], ["y"], name="/CumSum_1"),
    ]
    return write(tmp_path / "model.onnx", nodes)


def test_an_operator_is_found_where_it_stands(network):
    found = read_network(network)
    assert found.input_shape == (1, 3, 96, 96)
    assert found.places({"CumSum"}) == [Place("CumSum", "/CumSum", None), Place("CumSum", "/CumSum_1", "block1_0")]
    assert found.places({"Sort"}) == []


def test_places_are_told_in_words_and_not_all_of_them(network):
    places = read_network(network).places({"CumSum"})
    assert (
        describe(places) == "CumSum in the node /CumSum, at the input; CumSum in the node /CumSum_1, behind the layer block1_0"
    )
    assert describe(places * 5).endswith("; and 5 more")
    assert describe([]) == ""


def test_a_float_network_is_told_from_a_quantized_one(tmp_path):
    with pytest.raises(JobFailed, match="a float network") as caught:
        read_network(unquantized(tmp_path / "model.onnx"))
    assert caught.value.error.type == "not_quantized"
    assert "imx500" in caught.value.error.hint


def test_a_network_quantized_for_the_cpu_is_called_so(tmp_path):
    nodes = [helper.make_node("QuantizeLinear", ["x", "s"], ["q"]), helper.make_node("DequantizeLinear", ["q", "s"], ["y"])]
    with pytest.raises(JobFailed, match="quantized for the CPU") as caught:
        read_network(write(tmp_path / "model.onnx", nodes))
    assert caught.value.error.type == "not_quantized"


@pytest.mark.parametrize("content", [b"", b"no onnx", b"\x08\x07", b"PK\x03\x04" + b"\0" * 100])
def test_a_file_of_another_kind_is_a_bad_model(tmp_path, content):
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(JobFailed) as caught:
        read_network(tmp_path / "model.onnx")
    assert caught.value.error.type == "bad_model"


def test_a_truncated_network_is_a_bad_model(network):
    content = network.read_bytes()
    for length in range(1, len(content), 7):
        network.write_bytes(content[:length])
        with pytest.raises(JobFailed) as caught:
            read_network(network)
        assert caught.value.error.type in {"bad_model", "not_quantized"}
