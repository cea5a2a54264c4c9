"""What an evaluation found, as a table: a column per model, a line per figure, and how sure the differences are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.table import Table

from shared.client.cli.common import escaped, out, table

_SHOWN: Final = re.compile(r"miou_.+|(hit_rate_50_95|mask_ap)(?!_(50|75|small|medium|large)).*")
_LEFT_OUT: Final = re.compile(r".*_(small|medium|large)(_.*)?|.*_jitter.*|(hit_rate|mask_ap).*_(clamp|shrink)")
"""Of all names of figures so many are shown; the others are in `--json` and in MLflow."""


def show_evaluation(result: Mapping[str, Any], headings: Mapping[str, str] | None = None) -> None:
    """Print the table and the differences."""
    found = figures_table(result, headings)
    if found is not None:
        out().print(found)
    for line in differences(result):
        out().print(line, markup=False, soft_wrap=True)


def figures_table(result: Mapping[str, Any], headings: Mapping[str, str] | None = None) -> Table | None:
    """Figures of all models side by side, those of a box and an ellipse drawn in it beside them; None if there are none.

    ``headings`` say more about some models.
    """
    columns = [(_model(model, headings or {}), numbers_in(model.get("figures"))) for model in dicts_in(result.get("models"))]
    baselines = result.get("baselines")
    if isinstance(baselines, dict):
        columns += [(escaped(str(name)), numbers_in(figures)) for name, figures in baselines.items()]
    names = figure_names(columns[0][1] if columns else ())
    if not names:
        return None
    rows = [[escaped(name), *(f"{figures[name]:.4f}" if name in figures else "" for _, figures in columns)] for name in names]
    return table(["", *(heading for heading, _ in columns)], rows)


def figure_names(names: Iterable[str]) -> list[str]:
    """Those that a table shows, in its order."""
    return sorted((name for name in names if _is_shown(name)), key=_order)


def differences(result: Mapping[str, Any]) -> list[str]:
    """A line per comparison of mean IoU, with its interval."""
    return [
        f"{found['model']} against {found['against']}: {found['figure']} {found['mean']:+.4f} "
        f"({found['low']:+.4f} to {found['high']:+.4f}, p {found['p_value']:.3g}, {found['images']} images)"
        for found in dicts_in(result.get("comparisons"))
        if {"model", "against", "figure", "mean", "low", "high", "p_value", "images"} <= found.keys()
        and not str(found["figure"]).endswith(("_clamp", "_shrink"))
    ]


def _model(model: Mapping[str, Any], headings: Mapping[str, str]) -> str:
    name = str(model.get("model", "?"))
    runtime = "" if model.get("runtime") == "onnx" else f" {model.get('runtime')}"
    more = f" {headings[name]}" if name in headings else ""
    return escaped(f"{name}{runtime}{more}")


def _is_shown(name: str) -> bool:
    return _SHOWN.fullmatch(name) is not None and _LEFT_OUT.fullmatch(name) is None


def _order(name: str) -> tuple[int, str]:
    return ("miou", "hit_", "mask").index(name[:4]), name


def numbers_in(found: Any) -> dict[str, float]:
    """The figures among a result's entries."""
    if not isinstance(found, dict):
        return {}
    return {str(name): float(value) for name, value in found.items() if isinstance(value, int | float)}


def dicts_in(found: Any) -> Sequence[dict[str, Any]]:
    """The objects of a list in a result."""
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []
