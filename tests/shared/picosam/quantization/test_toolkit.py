"""The sensor's networks by the real toolkit: what is refused, what is written, and that it is the same network."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from shared.contracts.quantization import Imx500Options, MixedPrecision
from shared.contracts.training import Compute
from shared.picosam.evaluation.networks import ExactNetwork, OnnxNetwork, TorchNetwork
from shared.picosam.model import FrozenBatchNorm2d, build_model
from shared.picosam.placement import place
from shared.picosam.quantization import sensor_files, toolkit
from shared.picosam.quantization.agreement import check_reference
from shared.picosam.quantization.errors import SizeOutOfReach, UnsupportedOperators, WrongInputFormat
from shared.picosam.quantization.layers import sensor_layers, worst

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkit's own


class Unsupported(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 1, 3, padding=1)
        self.shuffle = nn.PixelShuffle(1)

    def forward(self, x):
        return self.shuffle(torch.cumsum(self.first(x), 2))


def windows(count=16):
    return np.random.default_rng(0).integers(0, 256, (count, 96, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    """PicoSAM2 by PTQ: the network for the toolkit, its answer, the folder with both files, and the phases told."""
    torch.set_num_threads(1)  # other tests beside this one measure seconds
    folder, told = tmp_path_factory.mktemp("sensor"), []
    network = toolkit.traceable(build_model("picosam2", seed=0))
    report = lambda phase, done, total: told.append((phase, done, total))  # noqa: E731
    found = toolkit.post_training(
        toolkit.Quantizing(network=network, windows=windows(), options=Imx500Options(), report=report)
    )
    sensor_files.export_reference(found, folder / "model.onnx")
    sensor_files.export_mctq(found, folder / "model.mctq.onnx")
    return network, found, folder, told


def test_operators_that_the_sensor_lacks_are_named_with_their_layers():
    with pytest.raises(UnsupportedOperators, match="cumsum in cumsum; PixelShuffle in shuffle"):
        toolkit.traceable(Unsupported())


@pytest.mark.parametrize("name", ["picosam2", "picosam2_wide", "picosam3"])
def test_our_networks_can_be_read_and_are_the_same(name):
    model = build_model(name, seed=0).eval()
    network = toolkit.traceable(model)
    batch = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(network(batch), model(batch))
    assert isinstance(model.input_norm, FrozenBatchNorm2d), "the model itself is left alone"


def test_a_size_out_of_reach_names_the_smallest():
    network = toolkit.traceable(build_model("picosam2", seed=0))
    least = toolkit.least_bytes(network)
    toolkit.check_reachable(network, MixedPrecision(max_weights_bytes=least))
    with pytest.raises(SizeOutOfReach, match=f"{least:,}"):
        toolkit.check_reachable(network, MixedPrecision(max_weights_bytes=least - 1))


def test_the_size_is_the_papers():
    network = toolkit.traceable(build_model("picosam2", seed=0))
    size = sum(toolkit.kernel_weights(network).values()) + toolkit.biases_bytes(network)
    assert size / 2**20 == pytest.approx(1.22, abs=0.01)


def test_both_files_take_what_the_sensor_hands_over(quantized):
    _, _, folder, _ = quantized
    for name in ("model.onnx", "model.mctq.onnx"):
        first = sensor_files.check_input_format(folder / name)
        assert (first.bits, first.signed, first.scale) == (8, False, 1 / 256)
    both = [sensor_files.activation_quantizers(folder / name) for name in ("model.onnx", "model.mctq.onnx")]
    assert [(each.bits, each.signed, each.scale) for each in both[0]] == [
        (each.bits, each.signed, each.scale) for each in both[1]
    ]


def test_another_input_format_is_refused(quantized, tmp_path):
    model = onnx.load(quantized[2] / "model.mctq.onnx")
    first = next(node for node in model.graph.node if node.op_type == "ActivationPOTQuantizer")
    threshold = next(attribute for attribute in first.attribute if attribute.name == "threshold")
    threshold.CopyFrom(helper.make_attribute("threshold", 4.0))
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(WrongInputFormat, match=r"0.015625 per code; the sensor hands over 8 bits"):
        sensor_files.check_input_format(tmp_path / "other.onnx")


def test_the_reference_is_the_toolkits_network(quantized):
    _, found, folder, _ = quantized
    reference = OnnxNetwork(folder / "model.onnx", quantization="fake_quant", threads=1)
    scale = sensor_files.activation_quantizers(folder / "model.onnx")[-1].scale
    agreement = check_reference(
        TorchNetwork(found, place(Compute(device="cpu"))), lambda: ExactNetwork(found), reference, windows(), scale
    )
    assert agreement.codes_within_one >= 0.998
    assert (folder / "model.onnx").stat().st_size < 1.4e6, "kernels are stored as 8-bit numbers"


def test_layers_are_named_measured_and_told(quantized):
    network, found, _, told = quantized
    layers = {layer.name: layer for layer in sensor_layers(network, found, windows(8))}
    assert (layers["encoder_stage1.0"].weight_bits, layers["encoder_stage1.0"].weights) == (8, 27)
    assert layers["add_3"].activation_bits == 8
    assert sum(layer.weight_bytes for layer in layers.values()) == sum(toolkit.kernel_weights(network).values())
    assert all(layer.weight_sqnr_db > 30 for layer in layers.values() if layer.weight_bits)
    assert len(worst(layers.values(), 3)) == 3
    assert {"Statistics Collection", "Calculating quantization parameters"} <= {phase for phase, _, _ in told}
