"""What a quantized network must keep: too much lost ends the job with the figures, and with what may help."""

from shared.contracts.quantization import Method, Platform, QuantizationSpec
from shared.picosam.quantization.layers import worst
from workers.harness.errors import JobFailed
from workers.quantization.making import Made
from workers.quantization.scoring import Compared

_ENOUGH_CALIBRATION = 500


def check(spec: QuantizationSpec, made: Made, compared: Compared) -> None:
    """JobFailed with all that is not kept."""
    broken = [*_size(spec, made), *_drop(spec, compared)]
    if broken:
        hint = " ".join([*_against_size(spec, made), *_against_drop(spec, made, compared)])
        raise JobFailed("quantization_gate", "; ".join(broken), f"{hint} The run's report shows each layer.")


def _is_too_large(spec: QuantizationSpec, made: Made) -> bool:
    return made.size_bytes > spec.gates.max_size_bytes


def _drops_too_far(spec: QuantizationSpec, compared: Compared) -> bool:
    return compared.drop.mean > spec.gates.max_miou_drop


def _size(spec: QuantizationSpec, made: Made) -> list[str]:
    if not _is_too_large(spec, made):
        return []
    return [f"the network takes {made.size_bytes:,} bytes, gates.max_size_bytes is {spec.gates.max_size_bytes:,}"]


def _drop(spec: QuantizationSpec, compared: Compared) -> list[str]:
    if not _drops_too_far(spec, compared):
        return []
    (name, drop), *_ = compared.drops.items()
    before, after = compared.floats.figures[name], compared.quantized.figures[name]
    return [
        f"{name} falls from {before:.4f} to {after:.4f}, by {drop.mean:.4f} ({drop.low:.4f} to {drop.high:.4f} over images); "
        f"gates.max_miou_drop is {spec.gates.max_miou_drop:g}"
    ]


def _against_size(spec: QuantizationSpec, made: Made) -> list[str]:
    if not _is_too_large(spec, made):
        return []
    if spec.platform is Platform.CPU:
        return ["Choose a narrower architecture, or raise gates.max_size_bytes."]
    return [f"Set imx500.mixed_precision.max_weights_bytes to {spec.gates.max_size_bytes}, or choose a narrower architecture."]


def _against_drop(spec: QuantizationSpec, made: Made, compared: Compared) -> list[str]:
    if not _drops_too_far(spec, compared):
        return []
    advice = []
    if spec.calibration.samples < _ENOUGH_CALIBRATION:
        advice.append(f"Raise calibration.samples to {_ENOUGH_CALIBRATION}.")
    if spec.platform is Platform.CPU:
        advice.append("Try cpu.calibration minmax, percentile and entropy.")
    elif spec.method is not Method.QAT:
        better = "gptq, then qat" if spec.method is Method.PTQ else "qat"
        advice.append(f"Choose the method {better}.")
    noisy = ", ".join(f"{layer.name} ({layer.activation_sqnr_db:.1f} dB)" for layer in worst(made.layers, 3))
    return [*advice, f"The layers with the most noise are {noisy}."]
