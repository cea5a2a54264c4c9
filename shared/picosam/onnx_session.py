"""A model.onnx in ONNX Runtime, as every part of the platform opens it. No torch in here: the inference service runs this."""

import os
from pathlib import Path
from typing import Final

import onnxruntime

from shared.picosam.errors import BadWeights

REQUANTIZING: Final = ("WeightBiasQuantization",)
"""ONNX Runtime's optimizer that quantizes a fake-quantized network's weights anew, per tensor instead of per channel: by
default it silently runs another network (masks agree by 97.4 % instead of 99.8 %)."""


def open_session(path: Path, *, quantization: str | None, threads: int, cuda: bool = False) -> onnxruntime.InferenceSession:
    """A session whose run uses ``threads`` threads; its input is [N, 3, S, S]. BadWeights if the file is no network of ours.

    ``quantization``: as the version's config.json says.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # A thread that waits for the other spins by default: on a machine that does anything else, half the speed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = ["CUDAExecutionProvider"] if cuda and quantization is None else []
    available = [name for name in providers if name in onnxruntime.get_available_providers()]
    disabled = list(REQUANTIZING) if quantization == "fake_quant" else []
    try:
        session = onnxruntime.InferenceSession(
            os.fspath(path), options, providers=[*available, "CPUExecutionProvider"], disabled_optimizers=disabled
        )
    except Exception as exc:  # its errors share no base class, and a damaged file can raise any of them
        hint = "The version's artifact is damaged; register the model again."
        raise BadWeights(f"model.onnx cannot be run: {exc}"[:500], hint=hint) from exc
    _check_signature(session)
    return session


def _check_signature(session: onnxruntime.InferenceSession) -> None:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
        told = f"{len(inputs)} inputs and {len(outputs)} outputs, the first of shape {inputs[0].shape if inputs else None}"
        raise BadWeights(f"model.onnx has {told}; a network takes windows [N, 3, S, S]", hint="Choose another version.")
