"""Lengths of time as people write them."""

import re
from typing import Final

from shared.client.cli.common import UsageError

_UNITS: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}


def seconds(text: str, option: str) -> float:
    """Of ``30s``, ``10m``, ``90min``, ``2h``, ``7d`` or bare seconds; UsageError naming ``option`` for anything else."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(s|min|m|h|d)?", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"{option}: {text!r} is no length of time.", hint="As 30s, 10m, 2h or 7d.")
    return float(found[1]) * _UNITS[found[2] or "s"]


def in_words(length_s: float) -> str:
    """In the largest unit that leaves no rest: ``10 min``, ``7 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if length_s >= size and length_s % size == 0:
            return f"{length_s / size:.0f} {unit}"
    return f"{length_s:.12g} s"
