"""Makes the quantized network: files in the model folder, and what is known of its layers."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from shared.contracts.jobs import Progress
from shared.contracts.quantization import Method, Platform, QuantizationSpec
from shared.picosam.evaluation.networks import ExactNetwork, OnnxNetwork, TorchNetwork
from shared.picosam.placement import place, threads_for
from shared.picosam.quantization import aware, sensor_files, toolkit
from shared.picosam.quantization.agreement import CodeAgreement, check_reference
from shared.picosam.quantization.cpu import quantize_for_cpu
from shared.picosam.quantization.layers import Layer, cpu_layers, sensor_layers
from shared.picosam.quantization.upsampling import upsample_by_copies
from shared.picosam.weights import Quantization
from workers.harness.context import JobContext
from workers.quantization.inputs import FloatModel, Windows
from workers.quantization.progress import Training, reporter

LAYER_WINDOWS: Final = 32
"""Calibration windows that the noise of each layer is measured on."""

CHECKED_WINDOWS: Final = 64
"""Held-out windows on which the reference is compared with the toolkit's own network."""

QUANTIZATION: Final[dict[Platform, Quantization]] = {Platform.IMX500: "fake_quant", Platform.CPU: "int8"}
"""How model.onnx of either platform is to be run."""

REFERENCE: Final = "model.onnx"
CONVERTED: Final = "model.mctq.onnx"
"""For the sensor's converter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A quantized network."""

    folder: Path
    """With model.onnx, which plain ONNX Runtime runs; for the sensor also model.mctq.onnx."""
    size_bytes: int
    """For the sensor kernels and biases; for CPUs the file."""
    layers: list[Layer]
    seconds: float
    """That quantizing took: windows, files and scores not counted."""
    faithful: CodeAgreement | None = None
    """Of model.onnx and the toolkit's own network; None for CPUs, where there is no other."""


def make(ctx: JobContext, spec: QuantizationSpec, floats: FloatModel, windows: Windows) -> Made:
    """Quantize. The files appear in the job's folder; raises what ``shared.picosam.quantization.errors`` says."""
    folder = ctx.folder / "model"
    folder.mkdir(parents=True, exist_ok=True)
    if spec.platform is Platform.CPU:
        return _for_cpu(ctx, spec, floats, windows, folder)
    return _for_sensor(ctx, spec, floats, windows, folder)


def _for_cpu(ctx: JobContext, spec: QuantizationSpec, floats: FloatModel, windows: Windows, folder: Path) -> Made:
    path, begun = folder / REFERENCE, time.perf_counter()
    quantize_for_cpu(floats.onnx, path, windows.calibration, spec.cpu, reporter(ctx, len(windows.calibration)))
    seconds = time.perf_counter() - begun
    ctx.report(Progress(phase="layers", done=0, unit="layer"))
    layers = cpu_layers(floats.onnx, path, windows.calibration[:LAYER_WINDOWS])
    upsample_by_copies(path)
    return Made(folder=folder, size_bytes=path.stat().st_size, layers=layers, seconds=seconds)


def _for_sensor(ctx: JobContext, spec: QuantizationSpec, floats: FloatModel, windows: Windows, folder: Path) -> Made:
    torch.set_num_threads(threads_for(spec.compute))
    begun = time.perf_counter()
    ctx.report(Progress(phase="read", done=0, unit="layer"))  # the toolkit takes seconds to import
    task = toolkit.Quantizing(
        network=toolkit.traceable(floats.model),
        windows=windows.calibration,
        options=spec.imx500,
        report=reporter(ctx, -(-len(windows.calibration) // toolkit.BATCH)),
        seed=spec.calibration.seed,
    )
    network = _quantized(ctx, spec, floats, windows, task)
    seconds = time.perf_counter() - begun
    _export(ctx, floats, network, folder)
    faithful = _checked(ctx, spec, windows, network, folder / REFERENCE)
    ctx.report(Progress(phase="layers", done=0, unit="layer"))
    layers = sensor_layers(task.network, network, windows.calibration[:LAYER_WINDOWS])
    size_bytes = toolkit.biases_bytes(task.network) + sum(layer.weight_bytes for layer in layers)
    return Made(folder=folder, size_bytes=size_bytes, layers=layers, seconds=seconds, faithful=faithful)


def _quantized(
    ctx: JobContext, spec: QuantizationSpec, floats: FloatModel, windows: Windows, task: toolkit.Quantizing
) -> nn.Module:
    """The toolkit's network."""
    match spec.method:
        case Method.PTQ:
            return toolkit.post_training(task)
        case Method.GPTQ:
            return toolkit.gradient(task, spec.imx500.gptq)
    recipe = aware.recipe_of(spec.imx500.qat, floats.config.window, spec.calibration.seed)
    return aware.train(task, floats.model, windows.training, recipe, spec.compute, Training(ctx, recipe.steps))


def _export(ctx: JobContext, floats: FloatModel, network: nn.Module, folder: Path) -> None:
    """Both files, which must take what the sensor hands over."""
    exports = {REFERENCE: sensor_files.export_reference, CONVERTED: sensor_files.export_mctq}
    for number, (name, export) in enumerate(exports.items()):
        ctx.raise_if_stopped()
        ctx.report(Progress(phase="export", done=number, total=len(exports), unit="file"))
        export(network, folder / name, size=floats.config.input_size)
        sensor_files.check_input_format(folder / name)


def _checked(ctx: JobContext, spec: QuantizationSpec, windows: Windows, network: nn.Module, reference: Path) -> CodeAgreement:
    """That plain ONNX Runtime computes what the toolkit's network does, on held-out windows."""
    ctx.report(Progress(phase="check", done=0, unit="window"))
    held_out = windows.main.windows
    some, _ = held_out.windows(np.unique(np.linspace(0, len(held_out) - 1, CHECKED_WINDOWS).astype(np.int64)))
    own = TorchNetwork(network, place(spec.compute.model_copy(update={"device": "cpu"})))
    runs = OnnxNetwork(reference, quantization="fake_quant", threads=threads_for(spec.compute))
    step = sensor_files.activation_quantizers(reference)[-1].scale
    return check_reference(own, lambda: ExactNetwork(network), runs, some, step)
