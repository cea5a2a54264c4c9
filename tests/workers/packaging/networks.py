"""Networks quantized for the converter with Sony's toolkit: of the kind that it takes, and of the kinds that it refuses."""

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn

import shared.picosam.torchvision_ops  # noqa: F401  # before the toolkit, parts of which import torchvision
from shared.picosam.export import export_onnx
from shared.picosam.model import build_model

CALIBRATION_BATCHES = 4


class TinyNet(nn.Module):
    """Two convolutions: the least that is a network, and converted in a third of the time that PicoSAM2 takes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


class CumulativeNet(TinyNet):
    """Adds up along a row, which the sensor cannot."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(self.second(torch.relu(self.first(x))), dim=3)


class WideNet(nn.Module):
    """Two small convolutions over large maps: known to be too large after seconds, where PicoSAM2 takes minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 64, 3, padding=1)
        self.second = nn.Conv2d(64, 64, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(x)))


def picosam2() -> nn.Module:
    """Untrained; the converter does not care."""
    model = build_model(seed=0)
    # torch.fx takes torch's own modules for leaves, and would look for branches inside ours.
    frozen = model.get_submodule("input_norm")
    plain = nn.BatchNorm2d(3, affine=False)
    plain.load_state_dict(frozen.state_dict())
    model.add_module("input_norm", plain)
    return model


def quantized(make: Callable[[], nn.Module], path: Path, *, side: int = 96) -> Path:
    """Writes ``make()``'s network, calibrated on noise, as the converter's kind of ONNX file."""
    import model_compression_toolkit as mct

    torch.manual_seed(0)
    with _quiet():
        model, _ = mct.ptq.pytorch_post_training_quantization(
            make().eval(),
            functools.partial(_noise, side),
            target_platform_capabilities=mct.get_target_platform_capabilities("1.0", "imx500"),
        )
        # The toolkit calls torch's exporter without saying which; today's default drops its quantizers.
        with mock.patch.object(torch.onnx, "export", functools.partial(torch.onnx.export, dynamo=False)):
            mct.exporter.pytorch_export_model(
                model,
                str(path),
                functools.partial(_noise, side),
                serialization_format=mct.exporter.PytorchExportSerializationFormat.ONNX,
                quantization_format=mct.exporter.QuantizationFormat.MCTQ,
            )
    return path


def unquantized(path: Path) -> Path:
    """A float network, as it is registered."""
    export_onnx(picosam2(), path)
    return path


def _noise(side: int) -> Iterator[list[Tensor]]:
    random = torch.Generator().manual_seed(1)
    for _ in range(CALIBRATION_BATCHES):
        yield [torch.randint(0, 256, (1, 3, side, side), generator=random) / 256]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the toolkit and torch's exporter print, and without their warnings about each other."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():  # noqa: PTH123
        warnings.simplefilter("ignore")
        yield
