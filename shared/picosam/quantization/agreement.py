"""How alike two networks answer: cell by cell, mask by mask, and in the codes of the output's quantizer."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.picosam.evaluation.answers import Bits, ious
from shared.picosam.evaluation.networks import Network
from shared.picosam.quantization.errors import UnfaithfulReference

LEAST_WITHIN_ONE: Final = 0.998
"""Share of output codes within 1 of the toolkit's, of a faithful reference. Both compute in float32, so a sum near the middle
of two codes may fall either way: 99.97 % and more are seen of PTQ, GPTQ and QAT of trained networks. Where ONNX Runtime
quantizes kernels anew it gives 79 to 86 %."""

MOST_TIMES_ROUNDING: Final = 2.0
"""How many codes more than 1 apart are no fault, as a multiple of what rounding alone makes of them in the toolkit's own
network, run in float32 and in float64. A network that has hardly learnt has small logits and so small steps: after 100 steps
of training 2.9 % of its codes change with the precision, and 1.8 % differ between toolkit and reference."""

BATCH: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskAgreement:
    """Of two networks' masks of the same windows."""

    pixels: float
    """Share of cells with the same answer."""
    mask_iou: float
    """Mean over windows."""
    mask_iou_p5: float
    """The fifth percentile: one window in twenty agrees less."""
    windows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeAgreement(MaskAgreement):
    """Also of what lies behind the masks."""

    codes_equal: float
    codes_within_one: float
    """Share of output codes that differ by at most 1."""


def of_masks(first: Bits, second: Bits) -> MaskAgreement:
    """Masks as ``Answers.bits``: uint8 [N, S * S / 8]. ValueError of none."""
    if not len(first):
        raise ValueError("two networks cannot be compared on no window")
    shared = ious(first, second)
    different = int(np.bitwise_count(first ^ second).sum(dtype=np.int64))
    return MaskAgreement(
        pixels=1 - different / (8 * first.size),
        mask_iou=float(shared.mean()),
        mask_iou_p5=float(np.percentile(shared, 5)),
        windows=len(first),
    )


def of_codes(first: NDArray[np.float32], second: NDArray[np.float32], scale: float) -> CodeAgreement:
    """Logits [N, S, S] of networks whose output is quantized in steps of ``scale``."""
    masks = asdict(of_masks(_bits(first), _bits(second)))
    apart = np.abs(np.round(first / scale) - np.round(second / scale))
    return CodeAgreement(
        **masks,
        codes_equal=float((apart == 0).mean()),
        codes_within_one=float((apart <= 1).mean()),
    )


def check_reference(
    toolkit: Network, exact: Callable[[], Network], reference: Network, windows: NDArray[np.uint8], scale: float
) -> CodeAgreement:
    """How alike the exported ``reference`` and the toolkit's own network answer to ``windows``, uint8 [N, S, S, 3].

    UnfaithfulReference if too many output codes, of ``scale`` each, differ by more than 1. ``exact`` makes the toolkit's
    network in float64; it is asked where there may be too many, which its own roundings may explain.
    """
    wanted, found = _answers(toolkit, windows), _answers(reference, windows)
    agreement = of_codes(wanted, found, scale)
    if agreement.codes_within_one >= LEAST_WITHIN_ONE:
        return agreement
    rounding = 1 - of_codes(wanted, _answers(exact(), windows), scale).codes_within_one
    least = 1 - MOST_TIMES_ROUNDING * rounding
    if agreement.codes_within_one < least:
        raise UnfaithfulReference(
            f"the exported reference differs from the toolkit's network on {agreement.windows} windows: "
            f"{agreement.codes_within_one:.3%} of the output codes are within 1 (expected {min(least, LEAST_WITHIN_ONE):.1%}; "
            f"rounding alone moves {rounding:.3%} of them further), {agreement.pixels:.3%} of the mask's cells are the same"
        )
    return agreement


def _answers(network: Network, windows: NDArray[np.uint8]) -> NDArray[np.float32]:
    parts = [windows[start : start + BATCH] for start in range(0, len(windows), BATCH)]
    return np.concatenate([network.logits(part) for part in parts])


def _bits(logits: NDArray[np.float32]) -> Bits:
    return np.packbits((logits > 0).reshape(len(logits), -1), axis=1)
