"""An ONNX file of any exporter gives back the network, or is refused before it can do harm."""

import copy
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from shared.contracts.imports import WeightsFormat
from shared.picosam.errors import BadWeights
from shared.picosam.export import check_export, export_onnx
from shared.picosam.model import ARCHITECTURES, build_model
from shared.picosam.weights import load_any
from tests.shared.picosam.conftest import lived_in

WINDOWS = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def exported(trained_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(trained_model, path)
    return onnx.load(str(path))


@pytest.fixture
def network(exported):
    """A copy to spoil."""
    return copy.deepcopy(exported)


def loaded(network, tmp_path, **options):
    onnx.save(network, str(tmp_path / "m.onnx"))
    return load_any(tmp_path / "m.onnx", WeightsFormat.ONNX, **options)


def refusal(network, tmp_path, **options):
    with pytest.raises(BadWeights) as refused:
        loaded(network, tmp_path, **options)
    assert refused.value.hint.endswith((".", ")"))
    return str(refused.value)


def assert_same(model, wanted):
    with torch.inference_mode():
        torch.testing.assert_close(model(WINDOWS), wanted(WINDOWS), rtol=1e-4, atol=1e-4)


def test_our_own_export_comes_back_as_the_same_function(trained_model, network, tmp_path):
    assert_same(loaded(network, tmp_path), trained_model)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("folded", [True, False])
def test_every_architectures_export_agrees_with_torch_and_comes_back(architecture, folded, tmp_path):
    model, path = lived_in(build_model(architecture, seed=7)), tmp_path / "m.onnx"
    if folded:
        export_onnx(model, path)
    else:
        export_unfolded(model, path)
    check_export(model, path)
    assert_same(load_any(path, WeightsFormat.ONNX, architecture=architecture), model)


def test_one_architectures_file_is_not_taken_for_another(tmp_path):
    export_onnx(lived_in(build_model("picosam3", seed=7)), tmp_path / "m.onnx")
    for other in ("picosam2", "picosam2_wide"):
        with pytest.raises(BadWeights, match=r"convolutions are not this network's: .*") as refused:
            load_any(tmp_path / "m.onnx", WeightsFormat.ONNX, architecture=other)
        assert "architecture" in refused.value.hint


def test_a_dilation_taken_away_is_noticed(tmp_path):
    export_onnx(lived_in(build_model("picosam3", seed=7)), tmp_path / "m.onnx")
    network = onnx.load(str(tmp_path / "m.onnx"))
    for conv in (node for node in network.graph.node if node.op_type == "Conv"):
        for attribute in conv.attribute:
            if attribute.name == "dilations" and list(attribute.ints) == [2, 2]:
                attribute.ints[:] = [1, 1]
            elif attribute.name == "pads" and list(attribute.ints) == [2, 2, 2, 2]:
                attribute.ints[:] = [1, 1, 1, 1]
    assert "(320, 1, 3, 3) with dilation (2, 2)" in refusal(network, tmp_path, architecture="picosam3")


def export_unfolded(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (WINDOWS,), str(path), dynamo=False, opset_version=17, dynamic_axes={"window": [0], "logits": [0]},
            input_names=["window"], output_names=["logits"], training=torch.onnx.TrainingMode.PRESERVE,
        )  # fmt: skip


def test_unfolded_batchnorms_come_back_one_by_one(trained_model, tmp_path):
    unfolded = tmp_path / "u.onnx"
    export_unfolded(trained_model, unfolded)
    model = loaded(onnx.load(str(unfolded)), tmp_path)
    assert_same(model, trained_model)
    found, wanted = model.state_dict(), trained_model.state_dict()
    assert all(torch.allclose(found[name], wanted[name], atol=1e-6) for name in wanted if "num_batches" not in name)


@pytest.mark.parametrize("scale", ["imagenet", "pixel/256"])
def test_a_published_export_without_normalisation_gets_the_one_that_was_named(trained_model, tmp_path, scale):
    bare = copy.deepcopy(trained_model)
    bare.input_norm = nn.Identity()
    export_onnx(bare, tmp_path / "bare.onnx")
    model = load_any(tmp_path / "bare.onnx", WeightsFormat.ONNX, input_scale=scale)
    assert_same(model, trained_model if scale == "imagenet" else bare)


def test_an_inner_batchnorm_with_scale_and_shift_becomes_one_without(trained_model, tmp_path):
    other = copy.deepcopy(trained_model)
    other.input_norm = nn.BatchNorm2d(3).eval()
    with torch.no_grad():
        other.input_norm.weight.copy_(torch.tensor([2.0, 3.0, 4.0]))
        other.input_norm.bias.copy_(torch.tensor([-1.0, 0.5, 0.0]))
        other.input_norm.running_mean.copy_(torch.tensor([0.1, 0.2, 0.3]))
    export_onnx(other, tmp_path / "o.onnx")
    assert_same(load_any(tmp_path / "o.onnx", WeightsFormat.ONNX), other)


def test_another_order_of_additions_is_the_same_network(trained_model, network, tmp_path):
    for node in network.graph.node:
        if node.op_type == "Add":
            node.input[:] = reversed(node.input)
    assert_same(loaded(network, tmp_path), trained_model)


@pytest.mark.parametrize("content", [b"x", b"\x08\x07", bytes(1000), b"PK\x03\x04"])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(BadWeights, match="not a valid ONNX file"):
        load_any(tmp_path / "m.onnx", WeightsFormat.ONNX)


@pytest.mark.parametrize("keep", [0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(exported, tmp_path, keep):
    content = exported.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(BadWeights, match="not a valid ONNX file"):
        load_any(tmp_path / "m.onnx", WeightsFormat.ONNX)


def test_weights_in_another_file_are_not_followed(network, tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4 * 1000))
    tensor = network.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    (tmp_path / "m.onnx").write_bytes(network.SerializeToString())
    with pytest.raises(BadWeights, match=r"second file|not a valid ONNX file"):
        load_any(tmp_path / "m.onnx", WeightsFormat.ONNX)


@pytest.mark.parametrize("operator", ["Exp", "NonZero", "Loop", "ConstantOfShape", "Expand"])
def test_operators_that_no_network_here_has_are_refused(network, tmp_path, operator):
    network.graph.node.append(helper.make_node(operator, ["window"], ["extra"]))
    assert any(word in refusal(network, tmp_path) for word in (operator, "not a valid ONNX file"))


def test_operators_of_a_domain_of_ones_own_are_refused(network, tmp_path):
    network.opset_import.append(helper.make_opsetid("evil", 1))
    network.graph.node.append(helper.make_node("Conv", ["window"], ["extra"], domain="evil"))
    assert "operators that no network here has: Conv" in refusal(network, tmp_path)


def test_a_graph_that_blows_up_its_input_is_refused_unrun(network, tmp_path):
    network.graph.initializer.append(helper.make_tensor("big", TensorProto.FLOAT, [4], [1, 1, 1e4, 1e4]))
    network.graph.node.append(helper.make_node("Resize", ["window", "", "big"], ["extra"], mode="nearest"))
    assert "'extra' is of unknown or excessive size" in refusal(network, tmp_path)


def test_a_graph_of_very_many_nodes_is_refused(network, tmp_path):
    network.graph.node.extend(helper.make_node("Relu", ["window"], [f"extra{number}"]) for number in range(1000))
    assert "more than 1000 nodes" in refusal(network, tmp_path)


def test_a_network_for_other_windows_is_refused(network, tmp_path):
    network.graph.initializer.append(helper.make_tensor("small", TensorProto.FLOAT, [1, 3, 50, 50], [0.0] * 7500))
    network.graph.node.append(helper.make_node("Add", ["window", "small"], ["extra"]))
    assert "does not take 96x96 RGB windows" in refusal(network, tmp_path)


def test_another_network_is_refused(tmp_path, trained_model):
    other = nn.Conv2d(3, 1, 1)
    export_onnx(other, tmp_path / "o.onnx")
    with pytest.raises(BadWeights, match="convolutions are not this network's"):
        load_any(tmp_path / "o.onnx", WeightsFormat.ONNX)


def test_the_same_layers_wired_otherwise_are_refused(network, tmp_path):
    relu = next(node for node in network.graph.node if node.op_type == "Relu")
    relu.op_type = "Identity"
    assert "output differs from this network's" in refusal(network, tmp_path)


def test_a_hidden_preprocessing_is_refused(network, tmp_path):
    network.graph.initializer.append(helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0]))
    for node in network.graph.node:
        node.input[:] = ["shifted" if name == "window" else name for name in node.input]
    network.graph.node.insert(0, helper.make_node("Add", ["window", "two"], ["shifted"]))
    assert "output differs" in refusal(network, tmp_path)


def test_nan_weights_are_refused(network, tmp_path):
    tensor = next(tensor for tensor in network.graph.initializer if list(tensor.dims) == [1, 40, 1, 1])
    tensor.raw_data = np.full((1, 40, 1, 1), np.nan, dtype=np.float32).tobytes()
    assert "NaN or infinite" in refusal(network, tmp_path)
