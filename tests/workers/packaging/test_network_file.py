"""ONNX files as they are given to the converter: of the right kind, of another, of none."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.workers.packaging.networks import unquantized
from workers.harness.errors import JobFailed
from workers.packaging.errors import Fault
from workers.packaging.network_file import QUANTIZERS, Place, read_network, some


def quantizer(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("ActivationPOTQuantizer", [source], [target], name=f"/{target}/Quantizer", domain=QUANTIZERS)


def write(path, nodes, *, shape=(1, 3, 96, 96), producer="picofleet"):
    """A network from ``x`` to ``y`` with one weight, as the toolkit writes them."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.zeros((3, 3, 1, 1), np.float32), "block1_0_bn.weight")
    graph = helper.make_graph(nodes, "main", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, producer_name=producer), str(path))
    return path


@pytest.fixture
def network(tmp_path):
    """Quantized; a CumSum behind a convolution, another at the input, a third as a layer of its own."""
    nodes = [
        quantizer("x", "q"),
        helper.make_node("CumSum", ["q", "axis"], ["c0"], name="/CumSum"),
        helper.make_node("Conv", ["c0", "block1_0_bn.weight"], ["c"], name="/block1_0_bn/layer/Conv"),
        helper.make_node("Relu", ["c"], ["r"], name="/Relu"),
        quantizer("r", "qr"),
        helper.make_node("CumSum", ["qr", "axis"], ["c1"], name="/CumSum_1"),
        helper.make_node("CumSum", ["c1", "axis"], ["y"], name="/sums_2/CumSum"),
    ]
    return write(tmp_path / "model.onnx", nodes)


LAYERS = ["", "block1", "block1.0", "block1.1", "sums", "sums.2"]


def test_an_operator_is_found_where_it_stands_in_the_networks_own_names(network):
    found = read_network(network, LAYERS)
    assert found.input_shape == (1, 3, 96, 96)
    assert found.places({"CumSum"}) == [
        Place(operator="CumSum", node="/CumSum", layer=None, after=None),
        Place(operator="CumSum", node="/CumSum_1", layer=None, after="block1.0"),
        Place(operator="CumSum", node="/sums_2/CumSum", layer="sums.2", after="block1.0"),
    ]
    assert found.places({"Sort"}) == []


def test_without_the_networks_names_places_are_told_by_the_toolkits(network):
    assert [place.after for place in read_network(network).places({"CumSum"})] == [None, "block1_0", "block1_0"]


def test_a_layer_whose_name_ends_as_folded_ones_do_keeps_it(network):
    (_, place, _) = read_network(network, ["block1_0_bn", "block1_0"]).places({"CumSum"})
    assert place.after == "block1_0_bn"


def test_places_are_told_in_words_and_not_all_of_them(network):
    places = read_network(network, LAYERS).places({"CumSum"})
    assert some(places) == (
        "CumSum in the node /CumSum, at the input; CumSum in the node /CumSum_1, behind the layer block1.0; "
        "CumSum in the layer sums.2"
    )
    assert some(places * 5).endswith("; and 10 more")
    assert some([]) == ""


def test_faults_are_told_with_the_places_of_their_nodes(network):
    faults = [Fault("Conv", "/block1_0_bn/layer/Conv", "dilation 9 (at most 4)"), Fault("Pad", "/elsewhere", "mode odd (no)")]
    assert read_network(network, LAYERS).described(faults) == [
        "Conv in the layer block1.0: dilation 9 (at most 4)",
        "Pad in the node /elsewhere: mode odd (no)",
    ]


def test_the_converter_gets_the_network_under_the_producer_that_it_takes(network, tmp_path):
    read_network(network).write_for_converter(tmp_path / "given.onnx")
    given, kept = (onnx.load(str(path)) for path in (tmp_path / "given.onnx", network))
    assert (given.producer_name, kept.producer_name) == ("pytorch", "picofleet")
    assert given.graph == kept.graph


@pytest.mark.parametrize("producer", ["", "tf2onnx"])
def test_a_network_that_something_else_wrote_is_refused(network, producer):
    model = onnx.load(str(network))
    model.producer_name = producer
    onnx.save(model, str(network))
    with pytest.raises(JobFailed, match=f"written by '{producer}'") as caught:
        read_network(network)
    assert caught.value.error.type == "bad_model"


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
    for length in range(1, len(content)):
        network.write_bytes(content[:length])
        with pytest.raises(JobFailed) as caught:
            read_network(network)
        assert caught.value.error.type in {"bad_model", "not_quantized"}
