"""`picofleet segment`: masks of what one points at in a photo."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from shared.client.cli.common import JsonFlag, UsageError, checked, client, err, escaped, out, print_json
from shared.client.cli.completion import complete_deployment
from shared.client.cli.segment_view import show_segments
from shared.client.errors import ProblemError, Unusable
from shared.client.overlay import FORMATS, Photo, save_masks, save_overlay
from shared.client.sdk import PicofleetClient
from shared.contracts.segmentation import DEFAULT_DEPLOYMENT, Everything, Output, Prompt, SegmentIn, SegmentOut

_HELP: Final = "See `picofleet segment --help`."
_NUMBER: Final = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)\s*")
_HOW_POINT: Final = "--point X,Y or X,Y=LABEL, in pixels from the upper left corner"
_HOW_BOX: Final = "--box X0,Y0,X1,Y1 or X0,Y0,X1,Y1=LABEL, in pixels from the upper left corner"


def segment(
    ctx: typer.Context,
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="JPEG, PNG or WebP file.")],
    point: Annotated[
        list[str] | None, typer.Option("--point", "-p", metavar="X,Y[=LABEL]", help="On the object; may be repeated.")
    ] = None,
    box: Annotated[
        list[str] | None, typer.Option("--box", "-b", metavar="X0,Y0,X1,Y1[=LABEL]", help="Round the object; may be repeated.")
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="A grid of points instead of prompts.")] = False,
    grid: Annotated[int, typer.Option(min=1, max=16, help="With --everything: points along the longer side.")] = 8,
    side: Annotated[
        int | None, typer.Option(min=8, max=8192, help="Of the points' windows, in pixels; default: as the model was trained.")
    ] = None,
    deployment: Annotated[
        str, typer.Option("--deployment", "-d", autocompletion=complete_deployment, help="Which model answers.")
    ] = DEFAULT_DEPLOYMENT,
    overlay: Annotated[
        Path | None, typer.Option("--out", "-o", help="Picture with the masks on the photo; a folder: PHOTO-overlay.png in it.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(file_okay=False, help="Folder for the masks, one PNG each.")] = None,
    output: Annotated[Output, typer.Option(help="Form of the masks in --json.")] = Output.PNG,
    as_json: JsonFlag = False,
) -> None:
    """Segment what the prompts point at, by a deployed model.

      picofleet segment photo.jpg --point 320,240 --out overlay.png
      picofleet segment photo.jpg --point 320,240=cup --box 10,20,200,180=plate --masks masks
      picofleet segment photo.jpg --everything --grid 12 --out .
      picofleet segment photo.jpg --point 320,240 --output rle --json

    What a deployment is: `picofleet deployments --help`.
    """
    target = None if overlay is None else _target(overlay, image)
    if (target is not None or masks is not None) and output is not Output.PNG:
        raise UsageError(f"Pictures are made of png masks, not of {output}.", hint="Leave out --output, or --out and --masks.")
    photo = Photo.read(image)
    prompts = [_point(text, side) for text in point or []] + [_box(text) for text in box or []]
    for prompt in prompts:
        _require_inside(prompt, photo)
    grid_points = checked(lambda: Everything(points_per_side=grid, side=side), _HELP) if everything else None
    request = _request(prompts, grid_points, deployment, output)
    answer = _asked(client(ctx), photo, request)
    if as_json:
        print_json(answer)
    else:
        out().print(show_segments(answer))
    _save(photo, request, answer, target, masks)


def _request(prompts: list[Prompt], everything: Everything | None, deployment: str, output: Output) -> SegmentIn:
    if everything is not None and prompts:
        raise UsageError("--everything takes no prompts.", hint="Leave out --everything, or --point and --box.")
    if everything is None and not prompts:
        raise UsageError("Nothing is asked for.", hint=f"Give {_HOW_POINT}; or --everything.")
    return checked(lambda: SegmentIn(prompts=prompts, everything=everything, deployment=deployment, output=output), _HELP)


def _asked(fleet: PicofleetClient, photo: Photo, request: SegmentIn) -> SegmentOut:
    try:
        return fleet.segment(
            photo.content,
            request.prompts,
            deployment=request.deployment,
            everything=request.everything,
            output=request.output,
        )
    except ProblemError as exc:
        if exc.status == 404 and fleet.deployments.find(request.deployment) is None:
            exc.hint = _other_deployments(fleet, request.deployment)
        raise


def _other_deployments(fleet: PicofleetClient, wanted: str) -> str:
    names = [each.name for each in fleet.deployments.list(limit=10)]
    if names:
        return f"There are: {', '.join(names)}. Name one with --deployment."
    return (
        f"There are no deployments yet. Make one: `picofleet deployments put {wanted} NAME/VERSION` (`picofleet models list`)."
    )


def _point(text: str, side: int | None) -> Prompt:
    numbers, label = _numbers(text, 2, _HOW_POINT)
    return checked(lambda: Prompt.model_validate({"point": numbers, "side": side, "label": label}), _HELP)


def _box(text: str) -> Prompt:
    numbers, label = _numbers(text, 4, _HOW_BOX)
    x0, y0, x1, y1 = numbers
    if x0 >= x1 or y0 >= y1:
        raise UsageError(f"The box {text!r} has no area.", hint=f"Its first corner is the upper left one: {_HOW_BOX}.")
    return checked(lambda: Prompt.model_validate({"box": numbers, "label": label}), _HELP)


def _numbers(text: str, count: int, how: str) -> tuple[list[float], str | None]:
    """The numbers and the label of ``1,2=label``."""
    numbers, _, label = text.partition("=")
    parts = numbers.split(",")
    if len(parts) != count or not all(_NUMBER.fullmatch(part) for part in parts):
        raise UsageError(f"{text!r} is no {'point' if count == 2 else 'box'}.", hint=f"Write {how}.")
    return [float(part) for part in parts], label or None


def _require_inside(prompt: Prompt, photo: Photo) -> None:
    size = f"the image has {photo.width} x {photo.height} pixels"
    if prompt.point is not None:
        x, y = prompt.point
        if not (0 <= x < photo.width and 0 <= y < photo.height):
            raise UsageError(f"The point {x:g},{y:g} lies outside: {size}.", hint="0,0 is the upper left pixel.")
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        if x1 <= 0 or y1 <= 0 or x0 >= photo.width or y0 >= photo.height:
            raise UsageError(f"The box {x0:g},{y0:g},{x1:g},{y1:g} lies outside: {size}.")


def _target(overlay: Path, image: Path) -> Path:
    """Where the overlay goes; UsageError before anything is sent."""
    target = overlay / f"{image.stem}-overlay.png" if overlay.is_dir() else overlay
    if target.suffix.lower() not in FORMATS:
        raise UsageError(f"{target} does not say what kind of picture it is.", hint=f"End it with {', '.join(FORMATS)}.")
    if target.exists() and target.samefile(image):
        raise UsageError(f"{target} is the photo itself.", hint="Give --out another name.")
    if not target.parent.is_dir():
        raise Unusable(f"There is no folder {target.parent}.", hint="Make it first, or give --out another name.")
    return target


def _save(photo: Photo, request: SegmentIn, answer: SegmentOut, target: Path | None, masks: Path | None) -> None:
    if target is not None:
        save_overlay(photo, answer, target, request.prompts)
        err().print(f"overlay: {escaped(str(target))}", soft_wrap=True)
    if masks is not None:
        saved = save_masks(answer, masks, photo.path.stem)
        err().print(f"masks: {len(saved)} in {escaped(str(masks))}", soft_wrap=True)
