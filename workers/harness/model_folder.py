"""The model folder that every job with a network leaves in its MLflow run: what to run, what it is, how to read it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from shared.contracts.serving import CONFIG_FILE, NETWORK_FILE, ServingCard
from shared.kit.model_folder import TensorSpec, describe_model_folder
from shared.picosam.calibrating import Confidence
from shared.picosam.export import INPUT_NAME, OUTPUT_NAME, Agreement, check_export, export_onnx
from shared.picosam.prompt import to_input
from shared.picosam.weights import ModelConfig, save_weights
from workers.harness.serving_card import write_card

UNKNOWN: Final = Confidence()
"""Of a network without validation windows."""


def write_model_folder(
    folder: Path,
    model: nn.Module,
    config: ModelConfig,
    windows: NDArray[np.uint8],
    *,
    confidence: Confidence = UNKNOWN,
    facts: Mapping[str, str] | None = None,
) -> tuple[Agreement, ServingCard]:
    """Write model.safetensors, model.onnx, config.json, serving.json and MLflow's description into ``folder``.

    ``windows``: uint8 [N, S, S, 3], N at least 1; the export is checked on all of them, the rest as ``describe_folder`` says.
    ExportDisagrees if the ONNX network computes something else than ``model``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder / "model.safetensors", config)
    export_onnx(model, folder / NETWORK_FILE, size=config.input_size)
    agreement = check_export(model, folder / NETWORK_FILE, windows)
    card = describe_folder(folder, config, windows, confidence=confidence, facts=facts)
    return agreement, card


def describe_folder(
    folder: Path,
    config: ModelConfig,
    windows: NDArray[np.uint8],
    *,
    confidence: Confidence = UNKNOWN,
    facts: Mapping[str, str] | None = None,
) -> ServingCard:
    """Write config.json, serving.json and MLflow's description beside model.onnx; gives what serving.json says.

    ``windows``: the first is the input example, some become golden windows. ``confidence``: as measured on validation
    windows. ``facts`` go into MLmodel's metadata.
    """
    (folder / CONFIG_FILE).write_text(config.model_dump_json(indent=2))
    card = write_card(folder, config, windows, confidence)
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
    return card
