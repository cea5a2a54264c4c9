"""The model folder that every job with a network leaves in its MLflow run: what to run, what it is, how to read it."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from shared.kit.model_folder import TensorSpec, describe_model_folder
from shared.picosam.export import INPUT_NAME, OUTPUT_NAME, Agreement, check_export, export_onnx
from shared.picosam.prompt import to_input
from shared.picosam.weights import ModelConfig, save_weights


def write_model_folder(
    folder: Path,
    model: nn.Module,
    config: ModelConfig,
    windows: NDArray[np.uint8],
    *,
    facts: Mapping[str, str] | None = None,
) -> Agreement:
    """Write model.safetensors, model.onnx, config.json and MLflow's description into ``folder``.

    ``windows``: uint8 [N, S, S, 3], N at least 1; the export is checked on all of them, the first is the input example.
    ``facts`` go into MLmodel's metadata. ExportDisagrees if the ONNX network computes something else than ``model``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder / "model.safetensors", config)
    export_onnx(model, folder / "model.onnx", size=config.input_size)
    agreement = check_export(model, folder / "model.onnx", windows)
    describe_folder(folder, config, windows, facts=facts)
    return agreement


def describe_folder(
    folder: Path, config: ModelConfig, windows: NDArray[np.uint8], *, facts: Mapping[str, str] | None = None
) -> None:
    """Write config.json and MLflow's description beside model.onnx. ``windows``: the first is the input example."""
    (folder / "config.json").write_text(config.model_dump_json(indent=2))
    side = config.input_size
    described = {"architecture": config.architecture, "input": f"RGB, {config.input}"}
    if config.quantization is not None:
        described["quantization"] = config.quantization
    describe_model_folder(
        folder,
        inputs=TensorSpec(INPUT_NAME, (-1, 3, side, side)),
        outputs=TensorSpec(OUTPUT_NAME, (-1, 1, side, side)),
        example=to_input(windows[:1]),
        facts={**described, **(facts or {})},
    )
