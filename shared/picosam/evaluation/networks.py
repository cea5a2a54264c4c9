"""Networks as an evaluation asks them: windows in, logits out, whatever computes them."""

from pathlib import Path
from typing import Final, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from shared.picosam.errors import BadWeights
from shared.picosam.export import to_input
from shared.picosam.placement import Placement
from shared.picosam.weights import Quantization

REQUANTIZING: Final = ("WeightBiasQuantization",)
"""ONNX Runtime's optimizer that quantizes a fake-quantized network's weights anew, per tensor instead of per channel: by
default it silently runs another network (masks agree by 97.4 % instead of 99.8 %)."""


class Network(Protocol):
    """Something that segments windows."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, S, S, 3] RGB to float32 [N, S, S]; above 0 is object."""


class OnnxNetwork:
    """A model.onnx in ONNX Runtime: float, fake-quantized (QDQ) or int8."""

    def __init__(self, path: Path, *, quantization: Quantization | None = None, threads: int, cuda: bool = False) -> None:
        """BadWeights if the file is no network of ours."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # A thread that waits for the other spins by default: on a machine that does anything else, half the speed.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CUDAExecutionProvider"] if cuda and quantization is None else []
        available = [name for name in providers if name in onnxruntime.get_available_providers()]
        disabled = list(REQUANTIZING) if quantization == "fake_quant" else []
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[*available, "CPUExecutionProvider"], disabled_optimizers=disabled
            )
        except Exception as exc:  # its errors share no base class, and a damaged file can raise any of them
            hint = "The version's artifact is damaged; register the model again."
            raise BadWeights(f"model.onnx cannot be run: {exc}"[:500], hint=hint) from exc
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[1] != 3:
            told = f"{len(inputs)} inputs and {len(outputs)} outputs, the first of shape {inputs[0].shape if inputs else None}"
            raise BadWeights(f"model.onnx has {told}; a network takes windows [N, 3, S, S]", hint="Choose another version.")
        self._input, self._output = inputs[0].name, outputs[0].name
        # In float one window stays in a core's cache: 220 images per second of processor time, 180 in batches of eight.
        self._at_once = 1 if quantization is None and not available else None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``Network`` says."""
        step = self._at_once or len(images)
        parts = [to_input(images[start : start + step]) for start in range(0, len(images), step)]
        answers = [self._session.run([self._output], {self._input: part})[0] for part in parts]
        return np.concatenate(answers).astype(np.float32, copy=False).reshape(images.shape[:3])


class TorchNetwork:
    """A model in torch, always in float32: its figures are compared with those of exported networks."""

    def __init__(self, model: nn.Module, placement: Placement) -> None:
        self._model, self._placement = placement.put(model).eval(), placement

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``Network`` says."""
        answer = self._model(self._placement.inputs(torch.from_numpy(images).permute(0, 3, 1, 2)))
        found: NDArray[np.float32] = answer.float().cpu().numpy()[:, 0]
        return found
