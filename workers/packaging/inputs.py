"""What a packaging reads: the quantized version's files, and windows that golden frames are chosen from."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.contracts.packaging import GoldenWindows
from shared.contracts.windows import Border
from shared.picosam.data.shards import ShardPolicy
from shared.picosam.errors import BadWeights
from shared.picosam.model import UnknownArchitecture, build_model
from shared.picosam.weights import ModelConfig
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed
from workers.harness.versions import name_of, version_config, version_file
from workers.packaging.errors import not_quantized

CANDIDATES: Final = 2
"""For each golden frame: of so many the most telling is taken."""

HINT: Final = "Quantize its float version for imx500 again, and package the version that this makes."


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorModel:
    """A version that was quantized for the sensor."""

    name: str
    """name/version."""
    config: ModelConfig
    network: Path
    """For the converter."""
    reference: Path
    """What plain ONNX Runtime runs, and the sensor should answer like."""
    layers: tuple[str, ...]
    """The float network's names for its parts; empty if its architecture is not known here."""


def open_model(ctx: JobContext) -> SensorModel:
    """Fetch the files. JobFailed if the version was not quantized for the sensor, or lacks one."""
    grant, folder = ctx.claim.models["model"], ctx.folder / "quantized"
    try:
        config = version_config(ctx, grant, folder)
    except BadWeights as exc:
        raise JobFailed("bad_weights", f"{name_of(grant)}: {exc}", exc.hint) from exc
    if config.quantization != "fake_quant":
        raise not_quantized("a float version" if config.quantization is None else "quantized for CPUs")
    return SensorModel(
        name=name_of(grant),
        config=config,
        network=version_file(ctx, grant, folder, "model.mctq.onnx", HINT),
        reference=version_file(ctx, grant, folder, "model.onnx", HINT),
        layers=_layers(config),
    )


def golden_candidates(ctx: JobContext, wanted: GoldenWindows, config: ModelConfig) -> NDArray[np.uint8]:
    """Windows [N, S, S, 3] RGB, drawn by the seed, cut as those that the network was evaluated on."""
    (grant,) = ctx.claim.datasets
    window = config.window.model_copy(update={"border": Border.PAD})
    policy = ShardPolicy(window=window, canvas=config.input_size, size=config.input_size, max_windows=wanted.max_prompts)
    with ExitStack() as stack:
        reader = stack.enter_context(inputs.shards(ctx, grant, wanted.dataset.split, policy))
        if len(reader) < wanted.frames:
            hint = "Choose a split with more objects, or fewer golden.frames."
            raise JobFailed("no_golden_frames", f"{grant.name}/{wanted.dataset.split} has {len(reader)} windows", hint)
        count = min(len(reader), CANDIDATES * wanted.frames)
        rows = np.random.default_rng(wanted.seed).choice(len(reader), count, replace=False)
        return reader.windows(np.sort(rows))[0]


def _layers(config: ModelConfig) -> tuple[str, ...]:
    try:
        return tuple(name for name, _ in build_model(config.architecture, seed=0).named_modules() if name)
    except UnknownArchitecture:
        return ()
