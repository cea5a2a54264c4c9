"""Networks quantized for the converter as quantization jobs do it: such as it takes, and of each kind that it refuses."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from shared.contracts.quantization import Imx500Options
from shared.picosam.export import export_onnx
from shared.picosam.model import build_model
from shared.picosam.quantization import sensor_files, toolkit

CALIBRATION_WINDOWS = 4


class TinyNet(nn.Module):
    """Two convolutions: the least that is a network, and converted in a fifth of the time that PicoSAM2 takes."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


TINY_LAYERS = tuple(name for name, _ in TinyNet().named_modules())


class CumulativeNet(TinyNet):
    """Adds up along a row, which the sensor cannot."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(super().forward(x), dim=3)


class BicubicNet(TinyNet):
    """Enlarges in a way that the sensor does not know."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.interpolate(super().forward(x), scale_factor=2, mode="bicubic")


class WideNet(nn.Module):
    """Two small convolutions over large maps: known to be too large after seconds, where PicoSAM2 takes minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def quantized(make: Callable[[], nn.Module], path: Path, *, side: int = 96, options: Imx500Options | None = None) -> Path:
    """Writes ``make()``'s network, calibrated on noise, as the converter's kind of ONNX file."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # other tests beside this one measure seconds
    shape = (CALIBRATION_WINDOWS, side, side, 3)
    task = toolkit.Quantizing(
        network=make().eval(),
        windows=np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8),
        options=options or Imx500Options(),
        report=lambda *_: None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolkit's own
        sensor_files.export_mctq(toolkit.post_training(task), path, size=side)
    return path


def with_bits(source: Path, target: Path, *, behind: str, bits: int) -> Path:
    """The network with other activation bits behind the layer ``behind``, which no table of the toolkit allows."""
    model = onnx.load(str(source))
    name = f"/{behind}_activation_holder_quantizer/ActivationPOTQuantizer"
    (node,) = (node for node in model.graph.node if node.name == name)
    next(attribute for attribute in node.attribute if attribute.name == "num_bits").i = bits
    onnx.save(model, str(target))
    return target


def unquantized(path: Path) -> Path:
    """A float network, as it is registered."""
    export_onnx(build_model(seed=0), path)
    return path
