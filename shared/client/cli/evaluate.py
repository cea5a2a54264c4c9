"""`picofleet evaluate`: masks made elsewhere, scored on this machine. Asks no service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.client.cli.common import JsonFlag, UsageError, err, escaped, out, print_json, table
from shared.client.errors import Unusable
from shared.contracts.windows import Border

if TYPE_CHECKING:
    from shared.picosam.predictions import Scored

FileArgument = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="COCO result JSON.")]
AnnotationsOption = Annotated[
    Path,
    typer.Option("--annotations", exists=True, dir_okay=False, readable=True, help="Instances JSON in COCO or LVIS layout."),
]
BorderOption = Annotated[
    Border, typer.Option("--border", help="How windows that leave their image are cut: authors is the published code's rule.")
]


def evaluate(
    predictions: FileArgument,
    annotations: AnnotationsOption,
    border: BorderOption = Border.AUTHORS,
    as_json: JsonFlag = False,
) -> None:
    """Score masks made elsewhere by the published protocol: mIoU, hit rate and mask AP.

    PREDICTIONS is a COCO result file with RLE masks, in image pixels or in the 96 x 96 window round each object. Entries are
    matched by annotation_id where they have one, else in file order to each image's non-crowd annotations.
    """
    scored = _scored(predictions, annotations, border)
    if as_json:
        print_json(scored.as_json())
        return
    _show(scored)


def _scored(predictions: Path, annotations: Path, border: Border) -> "Scored":
    try:
        # Imported here: numpy and pycocotools take 0.6 s, and a client that only talks to a service need not have them.
        from shared.picosam.predictions import BadPredictions, score_predictions
    except ModuleNotFoundError as exc:
        message = f"The package {exc.name} is not installed."
        raise UsageError(message, hint="Install what scores masks: pip install 'picofleet[evaluation]'.") from exc
    try:
        return score_predictions(predictions, annotations, border)
    except BadPredictions as exc:
        raise Unusable(str(exc), hint=exc.hint) from exc


def _show(scored: "Scored") -> None:
    console = out()
    console.print(f"{scored.predictions} masks on the {scored.frame.value}, border rule {scored.border.value}\n")
    console.print(table(["figure", "value"], [[name, f"{value:.4f}"] for name, value in scored.figures.items()]))
    console.print()
    rows = [
        [name, f"{band['miou']:.4f}" if band["miou"] is not None else "", str(band["samples"])]
        for name, band in scored.by_area.items()
    ]
    console.print(table(["objects", "mIoU", "samples"], rows))
    for line in _remarks(scored):
        err().print(escaped(line))


def _remarks(scored: "Scored") -> list[str]:
    """What was left out, and why."""
    lines = list(scored.notes)
    if scored.skipped:
        lines.append(f"{scored.skipped} predictions of {scored.skipped_images} images that are not annotated were skipped")
    if scored.unanswered:
        lines.append(f"{scored.unanswered} objects of these images have no prediction and do not count")
    return [f"{line[0].upper()}{line[1:]}." for line in lines]
