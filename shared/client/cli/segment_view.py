"""What was segmented, as a table."""

from typing import Final

from rich.console import Group
from rich.text import Text

from shared.client.cli.common import escaped, table
from shared.contracts.segmentation import ObjectOut, SegmentOut

BAR_CELLS: Final = 10


def show_segments(answer: SegmentOut) -> Group:
    """The objects, and under them who answered in what time."""
    labelled = any(found.label for found in answer.objects)
    columns = ["object", *(["label"] if labelled else []), "area", "confidence", "box", "window"]
    rows = [_row(found, answer, labelled=labelled) for found in answer.objects]
    size = f"{answer.image.width} x {answer.image.height}"
    stages = ", ".join(f"{name} {took:.1f}" for name, took in answer.timings_ms.model_dump().items())
    by = f"{answer.model} ({answer.engine}), deployment {answer.deployment}, generation {answer.generation}"
    lines = [Text(f"{by}; image of {size} pixels"), Text(f"{total_ms(answer):.1f} ms: {stages}", style="dim")]
    if any(found.mask is not None and not found.calibrated for found in answer.objects):
        lines.append(Text("confidences are not calibrated: the version brings no calibration", style="dim"))
    return Group(table(columns, rows), *lines) if rows else Group(Text("Nothing was found."), *lines)


def bar(share: float, cells: int = BAR_CELLS) -> str:
    """A share of 1 as a bar of whole and half cells."""
    halves = round(min(max(share, 0.0), 1.0) * cells * 2)
    return ("━" * (halves // 2) + "╸" * (halves % 2)).ljust(cells)


def total_ms(answer: SegmentOut) -> float:
    """How long the service took, waiting included."""
    return float(sum(answer.timings_ms.model_dump().values()))


def _row(found: ObjectOut, answer: SegmentOut, *, labelled: bool) -> list[str]:
    label = [escaped(found.label or "")] if labelled else []
    if found.mask is None:
        return [escaped(found.id), *label, "", "[dim]nothing there[/dim]", "", _window(found)]
    share = found.area / max(1, answer.image.width * answer.image.height)
    colour = "green" if found.confidence >= 0.7 else "yellow" if found.confidence >= 0.4 else "red"
    confidence = f"[{colour}]{bar(found.confidence)}[/{colour}] {found.confidence:.2f}"
    box = "{},{} {},{}".format(*found.box) if found.box is not None else ""
    return [escaped(found.id), *label, f"{found.area:,} px {share:.1%}", confidence, box, _window(found)]


def _window(found: ObjectOut) -> str:
    window = found.window
    return f"{window.x1 - window.x0} x {window.y1 - window.y0} at {window.x0},{window.y0}"
