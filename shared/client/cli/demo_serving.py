"""How the demo ends: its model is deployed, and segments an image that it has never seen, over HTTP."""

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from shared.client.cli.common import escaped
from shared.client.cli.deployment_view import parts_in_words
from shared.client.cli.segment_view import show_segments, total_ms
from shared.client.overlay import Photo, mask_of, save_overlay
from shared.client.sdk import PicofleetClient
from shared.contracts.datasets import DatasetSelection
from shared.contracts.deployments import CpuTarget, DeploymentOut
from shared.contracts.pipelines import PipelineOut
from shared.contracts.segmentation import Prompt, SegmentOut

if TYPE_CHECKING:
    from shared.picosam.data.example import Example

DEPLOYMENT: Final = "demo"
WAIT_S: Final = 120.0


def serve_and_try(client: PicofleetClient, console: Console, pipeline: PipelineOut, folder: Path) -> str:
    """Deploy the pipeline's second model, point at three objects of an image of the validation split, and leave photo,
    picture and answer in ``folder``; the words for the demo's last line.
    """
    deployment = _deploy(client, console, pipeline)
    example = _example(client, DatasetSelection.model_validate(pipeline.parameters["validation"]))
    prompts = [Prompt(point=point) for point in example.points()]
    photo = _kept(example, folder)
    answer = client.segment(photo.content, prompts, deployment=deployment.name)
    save_overlay(photo, answer, folder / "overlay.png", prompts)
    (folder / "segment.json").write_text(answer.model_dump_json(indent=2) + "\n")
    _show(console, answer, _agreements(example, answer), folder)
    points = " ".join(f"--point {x},{y}" for x, y in example.points())
    again = f"picofleet segment {shlex.quote(str(photo.path))} {points} --deployment {DEPLOYMENT} --out overlay.png"
    console.print(f"  {'again':<23}{escaped(again)}", soft_wrap=True)
    return f"served {answer.model} in {total_ms(answer):.0f} ms"


def _deploy(client: PicofleetClient, console: Console, pipeline: PipelineOut) -> DeploymentOut:
    """The float model answers; the int8 one, if there is one, runs in its shadow and is compared."""
    models = {step.name: step.model for step in pipeline.steps if step.model}
    shadow = {"shadow": {"model": models["quantize_cpu"]}} if "quantize_cpu" in models else {}
    spec: dict[str, Any] = {"versions": [{"model": models["distil"]}]} | shadow
    made = client.deployments.put(DEPLOYMENT, CpuTarget.model_validate(spec), wait_s=WAIT_S)
    beside = f", in its shadow {made.shadow.model}" if made.shadow is not None else ""
    words = f"Deployment {made.name}, generation {made.generation}: {parts_in_words(made.versions)}{escaped(beside)}"
    console.print(words, soft_wrap=True)
    return made


def _example(client: PicofleetClient, selection: DatasetSelection) -> "Example":
    from shared.picosam.data.example import find_example

    dataset = client.datasets.get(selection.dataset)
    with tempfile.TemporaryDirectory(prefix="picofleet-demo-") as scratch:
        manifest = client.blobs.download(dataset.manifest or "", Path(scratch) / "manifest")
        return find_example(manifest, selection.split, dataset.source)


def _kept(example: "Example", folder: Path) -> Photo:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"photo{Path(example.name).suffix}"
    file.write_bytes(example.content)
    return Photo.read(file)


def _agreements(example: "Example", answer: SegmentOut) -> list[float]:
    """The IoU of each mask with its annotation; 0 where nothing was found."""
    size = (answer.image.width, answer.image.height)
    masks = [mask_of(found, size) for found in answer.objects]
    return [0.0 if mask is None else example.iou(number, mask) for number, mask in enumerate(masks)]


def _show(console: Console, answer: SegmentOut, agreements: Sequence[float], folder: Path) -> None:
    console.print(show_segments(answer))
    agreed = ", ".join(f"{iou:.2f}" for iou in agreements)
    console.print(f"  {'IoU with annotations':<23}{agreed}")
    console.print(f"  {'overlay':<23}{escaped(str(folder / 'overlay.png'))}", soft_wrap=True)
