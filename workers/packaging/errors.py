"""What may go wrong on the way to a package: each kind of failure with its message and what to do about it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.kit.toolchain.errors import ToolchainError
from workers.harness.errors import JobFailed

_SIZES: Final = re.compile(r"available: *(?P<available>[\d.]+[KM]?B) *, *required: *(?P<required>[\d.]+[KM]?B)")
_NODES: Final = re.compile(r"op: *(\w+), id: *([^,<]+), errors:")
_FAULTS: Final = re.compile(r"param: *([^,<]+), value: *([^,<]+), reason: *([^<]+)")
_BITS: Final = re.compile(
    r"layer: (?P<kind>\w+)_TYPE with flnID: (?:\(F\))?(?P<node>\S+): "
    r"(?:input number \d+ not|portName \d+ does not) support (?P<bits>\d+) "
)
_CONVERTER_HINT: Final = "The job's log has the converter's own words."


def toolchain_failed(exc: ToolchainError) -> JobFailed:
    """``toolchain_missing``, ``java_missing`` and their like: in the words of the toolchain."""
    kind = re.sub(r"(?<!^)(?=[A-Z])", "_", type(exc).__name__).lower()
    return JobFailed(kind, exc.message, exc.hint)


def odd_folder(folder: Path) -> JobFailed:
    """The converter cannot work in folders whose names a shell would take apart."""
    return JobFailed(
        "odd_folder",
        f"The converter cannot write to {str(folder)!r}: the path has spaces or signs in it.",
        "Name another folder for temporary files in TMPDIR of the worker.",
    )


def bad_model(what: str) -> JobFailed:
    """For a file that no converter could read."""
    return JobFailed("bad_model", f"{what}.", "Quantize the version again; if its file is damaged, register it anew.")


def not_quantized(kind: str) -> JobFailed:
    """For a network without the toolkit's quantizers. ``kind`` says what it is instead."""
    return JobFailed(
        "not_quantized",
        f"The model is {kind}, not quantized for the IMX500.",
        "Quantize it for the imx500 target first, and package the version that this makes.",
    )


def unsupported_operator(operators: Sequence[str], places: str) -> JobFailed:
    """``places`` says where the network uses them; empty if it does not show."""
    where = f": {places}" if places else ""
    return JobFailed(
        "unsupported_operator",
        f"The IMX500 has no operator {', '.join(operators)}{where}.",
        "Write that part of the network with convolutions, additions, ReLU, pooling, nearest upsampling and concatenations, "
        "then train and quantize it again. The quantization toolkit lets operators pass that the sensor lacks.",
    )


def restricted_operator(faults: str) -> JobFailed:
    """The sensor has the operator, but not in this form. ``faults`` says which nodes are meant, and what is wrong with them."""
    return JobFailed(
        "unsupported_operator",
        f"The IMX500 has no such form of an operator: {faults}.",
        "Change what is named, then train and quantize the network again.",
    )


def unsupported_bits(places: str) -> JobFailed:
    """The sensor computes an operator with other bit widths. ``places`` says which ones, and with how many bits each."""
    return JobFailed(
        "unsupported_bits",
        f"The IMX500 does not compute with these bit widths: {places}.",
        "Quantize it with 8-bit activations and kernels of 8, 4 or 2 bits, as quantization jobs do. 16 bits are possible for "
        "the output alone, and for what is added up right before it.",
    )


def does_not_fit(available_bytes: int, required_bytes: int, input_shape: Sequence[int]) -> JobFailed:
    """More memory than the chip has. ``input_shape``: batch, channels, height, width."""
    return JobFailed(
        "does_not_fit",
        f"The network needs {_mb(required_bytes)} of the sensor's memory, which has {_mb(available_bytes)} "
        f"({required_bytes / available_bytes:.0%}).",
        _smaller(available_bytes / required_bytes, input_shape),
    )


def above_limit(utilization: float, limit: float, used_bytes: int) -> JobFailed:
    """It fits, but takes a larger share of the sensor's memory than the spec allows."""
    return JobFailed(
        "memory_limit_exceeded",
        f"The network takes {utilization:.1%} of the sensor's memory ({_mb(used_bytes)}); max_memory_utilization is {limit:g}.",
        "Raise max_memory_utilization, or make the network smaller: fewer channels, or a smaller input.",
    )


def bad_memory_report(what: str) -> JobFailed:
    """The converter's memory report is not there or cannot be believed."""
    return JobFailed("bad_memory_report", f"The converter's memory report cannot be used: {what}.", _CONVERTER_HINT)


def bad_output(what: str) -> JobFailed:
    """packerOut.zip is not what the converter writes."""
    return JobFailed("bad_converter_output", f"The converter's output cannot be used: {what}.", _CONVERTER_HINT)


def converter_crashed(status: int, said: str) -> JobFailed:
    """For everything that the converter does not call by its name."""
    return JobFailed(
        "converter_crashed",
        f"The converter ended with exit status {status}: {said or 'it did not say why'}",
        f"{_CONVERTER_HINT} If it names a layer, try the network without it; `picofleet toolchain status` tells whether the "
        "converter itself is whole.",
    )


def converter_timeout(seconds: float, stage: str) -> JobFailed:
    """Killed after its time."""
    return JobFailed(
        "converter_timeout",
        f"The converter was ended after {seconds:.0f} s, in the stage {stage!r}.",
        "PicoSAM2 takes about a minute. A network that is far too large may take for ever: try a memory report of a narrower "
        "one, or raise the time limit.",
    )


def converter_out_of_memory(limit_bytes: int, peak_bytes: int) -> JobFailed:
    """It needed more than it may have on this machine (not: than the sensor has)."""
    return JobFailed(
        "converter_out_of_memory",
        f"The converter may use {_mb(limit_bytes)} of this machine's memory and needed more (seen: {_mb(peak_bytes)}).",
        "Raise the memory limit of packaging jobs: PicoSAM2 needs 1.2 GB. A network that is far too large for the sensor "
        "needs more.",
    )


@dataclass(frozen=True, slots=True)
class Fault:
    """What the converter finds against one node."""

    operator: str
    node: str
    what: str
    """As: mode cubic (Supported values: ['linear', 'nearest'])."""


def faults_in(message: str) -> list[Fault]:
    """What the converter finds against which nodes; empty if it does not say."""
    nodes = _NODES.split(message)
    # nodes: what is before the first one, then operator, node and text of each
    return [
        Fault(
            operator, node, ", ".join(f"{param} {value} ({reason.strip()})" for param, value, reason in _FAULTS.findall(text))
        )
        for operator, node, text in zip(nodes[1::3], nodes[2::3], nodes[3::3], strict=True)
    ]


def bits_in(messages: Iterable[str]) -> list[Fault]:
    """Which nodes the converter refuses for their bit widths, each once; empty if that is not what is wrong."""
    found = {match["node"]: match for match in map(_BITS.match, messages) if match is not None}
    return [Fault(match["kind"].capitalize(), node, f"{match['bits']} bits") for node, match in found.items()]


def sizes_in(message: str) -> tuple[str, str] | None:
    """(available, required) as the converter writes them: ``8.00MB``, ``12.85MB``."""
    found = _SIZES.search(message)
    return (found["available"], found["required"]) if found else None


def _smaller(factor: float, input_shape: Sequence[int]) -> str:
    """What would fit. Maps dominate, so memory goes with the input's area and with the channels."""
    side = input_shape[-1] if len(input_shape) == 4 else 0
    fitting = int(side * (0.95 * factor) ** 0.5) // 16 * 16
    suggestion = f" An input of {fitting}x{fitting} instead of {side}x{side} should do, or" if 16 <= fitting < side else " Try"
    return (
        f"Make the network smaller.{suggestion} {0.95 * factor:.0%} of the channels: the memory goes with the input's area and "
        "with the channels of the largest maps."
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:.2f} MB"
