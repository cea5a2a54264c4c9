"""Golden frames: real windows and the output codes that the reference answers, chosen so that a wrong input shows.

Masks hardly tell one: in BGR order 99 % of the pixels still agree. The codes behind them do.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from shared.picosam.evaluation.networks import Network, OnnxNetwork
from shared.picosam.quantization.errors import QuantizationError
from shared.picosam.quantization.sensor_files import Quantizer, activation_quantizers

Windows = NDArray[np.uint8]
"""[N, S, S, 3]."""
Codes = NDArray[Any]
"""int8 or uint8 [N, S, S]: as the sensor hands them over."""

CONTRAST: Final = 1.8
"""What a network sees that was calibrated on ImageNet's mean and deviation, which the sensor does not apply."""


class WrongOutputFormat(QuantizationError):
    """The network's answers are no codes of eight bits."""


def _other_order(windows: Windows) -> Windows:
    return windows[..., ::-1]


def _more_contrast(windows: Windows) -> Windows:
    return np.clip(np.round((windows - 128.0) * CONTRAST + 128), 0, 255).astype(np.uint8)


def _shifted(windows: Windows) -> Windows:
    return np.concatenate([windows[:, :, 1:], windows[:, :, -1:]], axis=2)


MISTAKES: Final[Mapping[str, Callable[[Windows], Windows]]] = {
    "bgr": _other_order,
    "contrast": _more_contrast,
    "shift": _shifted,
}
"""What an installation may get wrong about its input: the order of the channels, their scale, a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Golden frames."""

    windows: Windows
    """RGB, whatever order the network takes."""
    codes: Codes
    step: float
    """What a code is worth."""
    mistakes: dict[str, float]
    """By mistake: the share of all codes that would still be right."""


class Reference:
    """The reference model, asked for codes."""

    def __init__(self, path: Path, *, bgr: bool = False, threads: int) -> None:
        """``bgr``: the order in which the network takes channels. WrongOutputFormat, BadWeights."""
        self.output = _output(path)
        self._network: Network = OnnxNetwork(path, quantization="fake_quant", threads=threads)
        self._bgr = bgr

    def codes(self, windows: Windows) -> Codes:
        """The codes that the sensor should hand over for RGB ``windows``."""
        given = _other_order(windows) if self._bgr else windows
        # One window stays in a core's cache: two thirds of the time that a batch takes.
        logits = np.concatenate([self._network.logits(given[row : row + 1]) for row in range(len(given))])
        return np.round(logits / self.output.scale).astype(np.int8 if self.output.signed else np.uint8)


def choose(reference: Reference, candidates: Windows, count: int, *, max_lsb: int = 2) -> Frames:
    """Of RGB ``candidates`` the ``count`` whose codes change most where an input is wrong, in their order. A function of its
    arguments.
    """
    right = reference.codes(candidates)
    wrong = {name: reference.codes(change(candidates)) for name, change in MISTAKES.items()}
    alike = {name: within(right, codes, max_lsb) for name, codes in wrong.items()}
    # The mistake that shows least decides.
    rows = np.sort(np.argsort(np.max(list(alike.values()), axis=0), kind="stable")[:count])
    return Frames(
        windows=candidates[rows],
        codes=right[rows],
        step=reference.output.scale,
        mistakes={name: float(shares[rows].mean()) for name, shares in alike.items()},
    )


def within(first: Codes, second: Codes, max_lsb: int) -> NDArray[np.float64]:
    """The share of each window's codes that are at most ``max_lsb`` apart, [N]."""
    near = np.abs(first.astype(np.int16) - second.astype(np.int16)) <= max_lsb
    shares: NDArray[np.float64] = near.reshape(len(near), -1).mean(axis=1)
    return shares


def _output(path: Path) -> Quantizer:
    """The quantizer of the network's answers, which is its graph's last."""
    quantizers = activation_quantizers(path)
    if not quantizers or quantizers[-1].bits != 8:
        told = f"{quantizers[-1].bits} bits" if quantizers else "not quantized"
        raise WrongOutputFormat(f"the answers of {path.name} are {told}, not codes of 8", hint="Quantize the version again.")
    return quantizers[-1]
