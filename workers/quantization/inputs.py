"""What a quantization reads: the float network, calibration windows, and the prompts that both networks are asked."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from shared.contracts.quantization import QuantizationSpec
from shared.contracts.windows import Border
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy
from shared.picosam.errors import BadWeights
from shared.picosam.evaluation.answers import truth_bits
from shared.picosam.evaluation.breakdown import Asked
from shared.picosam.quantization.calibration import Range, check_windows, choose_rows
from shared.picosam.weights import ModelConfig, load_weights
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed
from workers.harness.fitting.inputs import BORDERS, CANVAS
from workers.harness.versions import name_of, version_config, version_file

FLOAT_HINT = "Choose a float version, as training, distillation and model import make them."


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatModel:
    """The network as it was trained."""

    name: str
    """name/version."""
    config: ModelConfig
    model: nn.Module
    onnx: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Prepared windows, on disk but for those that calibrate."""

    training: ShardReader
    """All of the calibration split, with the margin that training cuts: QAT looks at them."""
    calibration: NDArray[np.uint8]
    """[N, S, S, 3] RGB."""
    range: Range
    """Of the calibration windows."""
    prompts: dict[Border, Asked]

    @property
    def main(self) -> Asked:
        """The prompts under the first rule, which gates, pictures and the check of the reference look at."""
        return next(iter(self.prompts.values()))


def open_float(ctx: JobContext) -> FloatModel:
    """Fetch the network. JobFailed if the version is quantized already or has no weights that can be read."""
    grant, folder = ctx.claim.models["model"], ctx.folder / "float"
    name = name_of(grant)
    try:
        config = version_config(ctx, grant, folder)
        if config.quantization is not None:
            raise JobFailed("already_quantized", f"{name} is quantized already ({config.quantization})", FLOAT_HINT)
        weights = version_file(ctx, grant, folder, "model.safetensors", FLOAT_HINT)
        network = version_file(ctx, grant, folder, "model.onnx", FLOAT_HINT)
        return FloatModel(name=name, config=config, model=load_weights(weights)[0], onnx=network)
    except BadWeights as exc:
        raise JobFailed("bad_weights", f"{name}: {exc}", exc.hint) from exc


def open_windows(ctx: JobContext, spec: QuantizationSpec, config: ModelConfig, stack: ExitStack) -> Windows:
    """All windows, cut as those that the network was trained on. BadCalibration if they would mislead the quantizer."""
    training = _opened(ctx, stack, 0, spec.calibration.dataset.split, ShardPolicy(window=config.window, canvas=CANVAS))
    calibration = _middles(training, choose_rows(training.area, spec.calibration.samples, spec.calibration.seed))
    found = check_windows(calibration, allow_unusual=spec.calibration.allow_unusual)
    if len(calibration) < spec.calibration.samples:
        ctx.log(f"the calibration split has {len(calibration)} windows, fewer than calibration.samples", level="warning")
    prompts = {border: _asked(ctx, spec, config, border, stack) for border in BORDERS}
    return Windows(training=training, calibration=calibration, range=found, prompts=prompts)


def _asked(ctx: JobContext, spec: QuantizationSpec, config: ModelConfig, border: Border, stack: ExitStack) -> Asked:
    window = config.window.model_copy(update={"border": border})
    policy = ShardPolicy(window=window, max_windows=spec.max_prompts)
    reader = _opened(ctx, stack, 1, spec.validation.split, policy)
    return Asked(window.label, border, reader, truth_bits(reader))


def _opened(ctx: JobContext, stack: ExitStack, dataset: int, split: str, policy: ShardPolicy) -> ShardReader:
    """Windows of the claim's dataset of that number."""
    ctx.raise_if_stopped()
    return stack.enter_context(inputs.shards(ctx, ctx.claim.datasets[dataset], split, policy))


def _middles(windows: ShardReader, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The windows themselves, without their margin."""
    margin = (windows.canvas - windows.size) // 2
    inner = slice(margin, margin + windows.size)
    return np.ascontiguousarray(windows.windows(rows)[0][:, inner, inner])
