"""What a packaging found: the sensor's memory, the package, and what its golden frames tell."""

from collections.abc import Mapping
from typing import Any

from shared.client.cli.cache import size
from shared.client.cli.common import escaped, out, show_fields
from shared.client.cli.evaluation_view import numbers_in

_MISTAKES = {"golden_bgr": "channels swapped", "golden_contrast": "1.8x contrast", "golden_shift": "shift by a pixel"}


def show_packaging(result: Mapping[str, Any]) -> None:
    """Print memory, package and golden frames."""
    numbers = numbers_in(result)
    if "memory_utilization" not in numbers:
        return
    show_fields([("made from", result.get("model")), ("memory", memory_told(numbers)), ("package", _package(result, numbers))])
    if told := [f"{name} {numbers[key]:.1%}" for key, name in _MISTAKES.items() if key in numbers]:
        out().print(escaped(f"Of a wrong input so many codes would pass: {', '.join(told)}; a right one needs 90 %."))


def memory_told(numbers: Mapping[str, float]) -> str:
    """As ``3.55 of 8.00 MB, 44.4 %``."""
    used, available = (numbers[f"memory_{name}_bytes"] / 1024**2 for name in ("used", "available"))
    return f"{used:.2f} of {available:.2f} MB of the sensor's memory, {numbers['memory_utilization']:.1%}"


def _package(result: Mapping[str, Any], numbers: Mapping[str, float]) -> str | None:
    if "release" not in result:
        return None
    named = f"{result.get('line')}/{result['release']}, {size(int(numbers['package_bytes']))}"
    return f"{named}, signed by key {result.get('signed_by')}"
