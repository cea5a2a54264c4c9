"""Networks as an evaluation asks them: windows in, logits out, whatever computes them."""

import copy
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from shared.picosam.onnx_session import open_session
from shared.picosam.placement import Placement
from shared.picosam.prompt import INPUT_SCALE, to_input
from shared.picosam.weights import Quantization


class Network(Protocol):
    """Something that segments windows."""

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [N, S, S, 3] RGB to float32 [N, S, S]; above 0 is object."""


class OnnxNetwork:
    """A model.onnx in ONNX Runtime: float, fake-quantized (QDQ) or int8."""

    def __init__(self, path: Path, *, quantization: Quantization | None = None, threads: int, cuda: bool = False) -> None:
        """BadWeights if the file is no network of ours."""
        self._session = open_session(path, quantization=quantization, threads=threads, cuda=cuda)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._input, self._output = inputs[0].name, outputs[0].name
        # In float one window stays in a core's cache: 220 images per second of processor time, 180 in batches of eight.
        on_cpu = self._session.get_providers() == ["CPUExecutionProvider"]
        self._at_once = 1 if quantization is None and on_cpu else None

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``Network`` says."""
        step = self._at_once or len(images)
        parts = [to_input(images[start : start + step]) for start in range(0, len(images), step)]
        answers = [self._session.run([self._output], {self._input: part})[0] for part in parts]
        return np.concatenate(answers).astype(np.float32, copy=False).reshape(images.shape[:3])


class ExactNetwork:
    """A model in torch in float64 on the CPU: tells what of another's answers is rounding. Slow."""

    def __init__(self, model: nn.Module) -> None:
        self._model = copy.deepcopy(model).cpu().double().eval()

    @torch.inference_mode()
    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As ``Network`` says."""
        inputs = torch.from_numpy(images).permute(0, 3, 1, 2).double() * INPUT_SCALE
        found: NDArray[np.float32] = self._model(inputs).float().numpy()[:, 0]
        return found


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
