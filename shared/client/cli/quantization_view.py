"""What a quantization found, as a table: the float network beside the quantized one, and what is lost between them."""

from collections.abc import Mapping
from typing import Any

from shared.client.cli.common import escaped, out, table
from shared.client.cli.evaluation_view import dicts_in, figure_names, numbers_in


def show_quantization(result: Mapping[str, Any]) -> None:
    """Print figures, what the networks agree on, sizes, and the noisiest layers."""
    numbers = numbers_in(result)
    names = figure_names(name for name in numbers if f"float/{name}" in numbers)
    if not names:
        return
    rows = [[escaped(name), f"{numbers[f'float/{name}']:.4f}", f"{numbers[name]:.4f}", _drop(name, numbers)] for name in names]
    heading = f"{result.get('method', '')} for {result.get('platform', '')}"
    out().print(table(["", escaped(str(result.get("model", "float"))), escaped(heading), "drop"], rows))
    for line in _lines(result, numbers):
        out().print(line, markup=False, soft_wrap=True)


def _drop(name: str, numbers: Mapping[str, float]) -> str:
    if not {f"{name}_drop", f"{name}_drop_low", f"{name}_drop_high"} <= numbers.keys():
        return f"{numbers[f'float/{name}'] - numbers[name]:+.4f}"
    drop, low, high = (numbers[f"{name}_drop{end}"] for end in ("", "_low", "_high"))
    return f"{drop:+.4f} ({low:+.4f} to {high:+.4f})"


def _lines(result: Mapping[str, Any], numbers: Mapping[str, float]) -> list[str]:
    found = []
    if {"agreement_mask", "agreement_mask_p5", "agreement_pixel"} <= numbers.keys():
        masks, worst, pixels = (numbers[f"agreement_{name}"] for name in ("mask", "mask_p5", "pixel"))
        found.append(f"Masks agree with IoU {masks:.4f} (one in twenty below {worst:.4f}), {pixels:.2%} of the cells.")
    if {"size_bytes", "float_size_bytes"} <= numbers.keys():
        size, before = numbers["size_bytes"], numbers["float_size_bytes"]
        found.append(f"Size {size / 1e6:.2f} MB ({size:,.0f} bytes), in float {before / 1e6:.2f} MB.")
    if "reference_codes" in numbers:
        found.append(f"The reference gives {numbers['reference_codes']:.3%} of the toolkit's output codes (within 1).")
    if layers := dicts_in(result.get("worst_layers")):
        noisy = ", ".join(f"{each['name']} {each['sqnr_db']:.1f} dB" for each in layers)
        found.append(f"Most noise: {noisy}.")
    return found
