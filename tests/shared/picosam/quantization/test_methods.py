"""Every way to quantize for the sensor, run to its end on a network of a few layers by the real toolkit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from shared.contracts.quantization import Gptq, Imx500Options, MixedPrecision
from shared.contracts.training import Compute
from shared.picosam.evaluation.networks import ExactNetwork, OnnxNetwork, TorchNetwork
from shared.picosam.placement import place
from shared.picosam.quantization import sensor_files, toolkit
from shared.picosam.quantization.agreement import check_reference
from shared.picosam.quantization.layers import sensor_layers

pytestmark = pytest.mark.filterwarnings("ignore")  # the toolkit's own
SIZE = 32


class Small(nn.Module):
    """PicoSAM2's operators once each: normalisation, strided and depthwise convolution, upsampling, addition, head."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = nn.BatchNorm2d(3)
        self.down = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.pointwise = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU())
        self.up = nn.Upsample(scale_factor=2)
        self.head = nn.Conv2d(16, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skipped = self.down(self.input_norm(x))
        return self.head(self.up(self.pointwise(self.depthwise(skipped)) + skipped))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return toolkit.traceable(Small())


def task(network, **options):
    torch.set_num_threads(1)  # other tests beside this one measure seconds
    windows = np.random.default_rng(0).integers(0, 256, (32, SIZE, SIZE, 3), dtype=np.uint8)
    return toolkit.Quantizing(network=network, windows=windows, options=Imx500Options(**options), report=lambda *_: None)


def answers(network, windows):
    return TorchNetwork(network, place(Compute(device="cpu"))).logits(windows)


def noise(network, quantized, windows):
    """Mean squared error of the answer, as a share of its variance."""
    wanted, found = answers(network, windows), answers(quantized, windows)
    return float(np.mean((wanted - found) ** 2) / wanted.var())


def check_files(quantized, windows, folder):
    """Both files take the sensor's input, and the reference answers as the toolkit's network."""
    sensor_files.export_reference(quantized, folder / "model.onnx", size=SIZE)
    sensor_files.export_mctq(quantized, folder / "model.mctq.onnx", size=SIZE)
    for name in ("model.onnx", "model.mctq.onnx"):
        sensor_files.check_input_format(folder / name)
    reference = OnnxNetwork(folder / "model.onnx", quantization="fake_quant", threads=1)
    scale = sensor_files.activation_quantizers(folder / "model.onnx")[-1].scale
    own = TorchNetwork(quantized, place(Compute(device="cpu")))
    check_reference(own, lambda: ExactNetwork(quantized), reference, windows, scale)


@pytest.mark.parametrize("hessian", ["none", "layer", "sample"])
def test_gptq_learns_roundings_and_loses_no_more_than_ptq(network, hessian, tmp_path):
    plain, learnt = task(network), task(network, gptq=Gptq(hessian=hessian))
    nearest = toolkit.post_training(plain)
    found = toolkit.gradient(learnt, learnt.options.gptq)
    kernels = [dict(each.named_parameters()) for each in (nearest, found)]
    assert any(not torch.equal(kernels[0][name], kernels[1][name]) for name in kernels[0]), "no weight was rounded otherwise"
    assert noise(network, found, learnt.windows) < 1.1 * noise(network, nearest, plain.windows)
    check_files(found, learnt.windows, tmp_path)


@pytest.mark.parametrize("errors", [{"weights_error": "hmse"}, {"weights_error": "mae", "activation_error": "mae"}])
def test_thresholds_can_be_chosen_by_other_errors(network, errors):
    chosen = task(network, gptq=Gptq(epochs=1), **errors)
    assert noise(network, toolkit.gradient(chosen, chosen.options.gptq), chosen.windows) < 0.01


@pytest.mark.parametrize("hessian", [False, True])
def test_mixed_precision_fits_the_size_and_says_which_kernel_has_how_many_bits(network, hessian, tmp_path):
    whole = sum(toolkit.kernel_weights(network).values()) + toolkit.biases_bytes(network)
    limit = toolkit.least_bytes(network) + (whole - toolkit.least_bytes(network)) // 2
    mixed = task(network, mixed_precision=MixedPrecision(max_weights_bytes=limit, samples=8, hessian=hessian))
    found = toolkit.post_training(mixed)
    layers = [layer for layer in sensor_layers(network, found, mixed.windows[:8]) if layer.weight_bits]
    assert len({layer.weight_bits for layer in layers}) > 1
    assert {layer.weight_bits for layer in layers} <= {2, 4, 8}
    assert limit / 2 < sum(layer.weight_bytes for layer in layers) + toolkit.biases_bytes(network) <= limit
    check_files(found, mixed.windows, tmp_path)


def test_without_corrections_too(network, tmp_path):
    plain = task(network, bias_correction=False, shift_negative=False)
    found = toolkit.post_training(plain)
    assert noise(network, found, plain.windows) < 0.01
    check_files(found, plain.windows, tmp_path)


def test_the_same_seed_gives_the_same_network(network):
    first, second = (toolkit.gradient(task(network), Gptq(epochs=1)) for _ in range(2))
    windows = task(network).windows
    assert np.array_equal(answers(first, windows), answers(second, windows))


def test_a_network_can_be_trained_through_its_quantizers(network, tmp_path):
    learnt = task(network)
    prepared = toolkit.prepare_training(learnt)
    before = answers(prepared.eval(), learnt.windows)
    optimizer = torch.optim.SGD([weight for weight in prepared.parameters() if weight.requires_grad], lr=0.1)
    prepared(torch.rand(4, 3, SIZE, SIZE)).square().mean().backward()
    optimizer.step()
    ended = toolkit.end_training(prepared)
    assert not np.array_equal(answers(ended, learnt.windows), before)
    check_files(ended, learnt.windows, tmp_path)
