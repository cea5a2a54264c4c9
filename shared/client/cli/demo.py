"""`picofleet demo`: the whole way once: train, distil, evaluate, quantize, package as one pipeline; serve, and roll out."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from shared.client.cli.common import Globals, Interrupted, checked, escaped, out, plain
from shared.client.cli.demo_fleet import roll_out
from shared.client.cli.demo_package import converter_is_there, keep_package
from shared.client.cli.demo_serving import serve_and_try
from shared.client.cli.evaluation_view import show_evaluation
from shared.client.cli.packaging_view import show_packaging
from shared.client.cli.pipeline_view import follow_pipeline, require_success
from shared.client.cli.platform import DataOption, state_table
from shared.client.cli.quantization_view import show_quantization
from shared.client.cli.submit import teacher_of
from shared.client.cli.toolchain import AcceptFlag
from shared.client.cli.watch import clock, follow
from shared.client.demo_data import DemoData, ensure_registered, generated, real_images, selections
from shared.client.errors import ClientError
from shared.client.mlflow_run import RunFiles, comparison_url
from shared.client.sdk import PicofleetClient
from shared.contracts.datasets import DatasetSelection
from shared.contracts.distillation import SamSize
from shared.contracts.pipelines import PipelineIn, PipelineOut, StepOut
from shared.contracts.quantization import LEAST_CALIBRATION

if TYPE_CHECKING:
    from infra.embedded.home import Home
    from infra.embedded.platform import Up

CANCEL_WAIT_S: Final = 10.0
DEMO_SAMPLES: Final = 12_000
"""For each of the two models: all of the demo takes about eight minutes on two cores."""
TEMPLATE: Final = "picosam2-imx500"
FIRST_MODEL: Final = "first"


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much is trained, and who teaches. None: the recipe's default; for ``teacher``: what the time allows."""

    samples: int
    batch_size: int | None
    seed: int | None
    teacher: str | None
    quantize: bool
    package: bool

    def recipe(self) -> dict[str, Any]:
        """Of both models: so many steps each, or the comparison would be unfair."""
        knobs = {"samples": self.samples, "batch_size": self.batch_size, "seed": self.seed}
        return {key: value for key, value in knobs.items() if value is not None}

    def quantization(self) -> dict[str, Any]:
        """A network that has hardly learnt anything has masks that hang on a rounding: a short demo opens the gate for them."""
        if self.samples >= DEMO_SAMPLES:
            return {}
        return {"gates": {"max_miou_drop": 1}, "calibration_samples": min(160, max(LEAST_CALIBRATION, self.samples // 10))}


def demo(
    ctx: typer.Context,
    samples: Annotated[int, typer.Option(min=1, help="Samples drawn for each of the two models.")] = DEMO_SAMPLES,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    images: Annotated[int, typer.Option(min=10, help="Without real images: how many are generated.")] = 400,
    teacher: Annotated[
        str | None,
        typer.Option(
            metavar="TEACHER",
            help="first (the first model), sam2.1-tiny, ..., or NAME/VERSION; default: SAM 2.1 tiny where its weights are on "
            "the platform and a worker has an accelerator, else the first model.",
        ),
    ] = None,
    quantize: Annotated[
        bool, typer.Option("--quantize/--no-quantize", help="Quantize for the sensor and for CPUs; packages need it.")
    ] = True,
    package: Annotated[bool, typer.Option("--package/--no-package", help="Make a package with Sony's converter.")] = True,
    accept_licence: AcceptFlag = False,
    keep: Annotated[bool, typer.Option("--keep", envvar="KEEP", help="Leave the platform up at the end.")] = False,
    data: DataOption = None,
) -> None:
    """One pipeline: train a model, distil a second one from a teacher, evaluate both, quantize, make a signed package; then
    serve the second one, segment an image with it, and roll the package out to simulated cameras.

    Starts the platform, registers images, runs the pipeline, shows both models' figures side by side, deploys the second
    model, draws what it sees in an image of the validation split, and stops the platform (unless it was up before). Real
    images come from the folder PICOFLEET_DATA; without it the built-in generator makes some. Sony's converter, which the
    package needs, is installed if its licence is accepted; without it the demo ends without a package and without cameras.

      picofleet demo
      picofleet demo --samples 2000 --keep
    """
    from infra.embedded.home import Home

    options: Globals = ctx.obj
    home = Home.at(options.home)
    with _terminated_like_interrupted():
        packaged = quantize and package and converter_is_there(home.path, out(), accepted=accept_licence)
        line = _run(home, data, images, Wishes(samples, batch_size, seed, teacher, quantize, packaged), keep)
    out().print(line)


def _run(home: "Home", data: Path | None, images: int, wishes: Wishes, keep: bool) -> str:
    """The demo's last line."""
    from infra.embedded import platform

    begun = time.monotonic()
    console = out()
    if wishes.teacher not in {None, FIRST_MODEL}:
        teacher_of(wishes.teacher)  # a name that cannot be is refused before anything is started
    source = real_images(data.expanduser().resolve()) if data is not None else generated(images)
    console.print(f"Picofleet demo with {escaped(source.origin)}.")
    if data is None:
        console.print("[yellow]No PICOFLEET_DATA: the built-in generator makes the images. Real ones:[/yellow]")
        console.print("[yellow]  picofleet datasets fetch coco-val2017[/yellow]")
    up: Up | None = None
    try:
        with state_table() as on_state:
            up = platform.up(home, dataset_roots=[data] if data else [], on_state=on_state)
        console.print(f"Platform {'started in ' + format(up.seconds, '.0f') + ' s' if up.started else 'was up already'}.")
        with _client(up) as client:
            _require_roots(up, source, data)
            pipeline = _pipeline(client, console, source, wishes)
            return _show(client, console, up, pipeline, begun)
    except KeyboardInterrupt:
        raise Interrupted("Interrupted.", hint="`picofleet demo` again reuses what was prepared.") from None
    except ClientError as exc:
        exc.hint = f"{exc.hint} Logs: {home.logs}".strip()
        raise
    finally:
        if up is not None and up.started:
            _leave(home, up, console, keep=keep)


def _client(up: "Up") -> PicofleetClient:
    key = up.home.admin_key.read_text().strip()
    return PicofleetClient(up.jobs_url, key, inference_url=up.inference_url, fleet_url=up.fleet_url)


def _require_roots(up: "Up", source: DemoData, data: Path | None) -> None:
    if data is not None and data.resolve() not in up.dataset_roots:
        raise ClientError(
            f"The running platform does not take {source.origin}.", hint="`picofleet down`, then start the demo again."
        )


def _pipeline(client: PicofleetClient, console: Console, source: DemoData, wishes: Wishes) -> PipelineOut:
    """Register what is missing, submit, follow; the pipeline that succeeded."""
    train, validation = _registered(client, console, source)
    recipe = wishes.recipe()
    parameters = {
        "train": train,
        "validation": validation,
        "train_recipe": recipe,
        "distil_recipe": recipe,
        "teacher": _teacher(client, console, wishes.teacher),
        "quantize": wishes.quantize,
        "package": wishes.package,
        **wishes.quantization(),
    }
    body = {"name": "demo", "tags": {"made-by": "demo"}, "template": TEMPLATE, "parameters": parameters}
    pipeline = client.pipelines.submit(checked(lambda: PipelineIn.model_validate(plain(body))))
    console.print(f"Pipeline {pipeline.id}: {' > '.join(step.name for step in pipeline.steps)}")
    with _cancelled_on_interrupt(client, console, pipeline.id):
        return require_success(follow_pipeline(client, pipeline.id))


def _registered(client: PicofleetClient, console: Console, source: DemoData) -> tuple[list[DatasetSelection], DatasetSelection]:
    """(train, validation) once all datasets are there and imported."""
    registered = {wanted.name: ensure_registered(client, wanted) for wanted in source.datasets}
    for dataset, reused in registered.values():
        if not reused and dataset.import_job is not None:
            follow(client, dataset.import_job)
        ready = client.datasets.wait_ready(dataset.id)
        splits = ", ".join(f"{split} {counts.instances} masks" for split, counts in ready.splits.items())
        console.print(f"Dataset {ready.name}{' (reused)' if reused else ''}: {splits}, {ready.digest}")
    return selections({name: dataset.name for name, (dataset, _) in registered.items()}, source)


def _teacher(client: PicofleetClient, console: Console, wished: str | None) -> dict[str, str] | None:
    """The teacher as a parameter of the template, for which None is the first model."""
    if wished == FIRST_MODEL:
        return None
    if wished is not None:
        return teacher_of(wished)
    tiny = next((teacher for teacher in client.teachers.list() if teacher.size is SamSize.TINY), None)
    if tiny is None or not tiny.present:
        console.print("Teacher: the first model. Better ones: `picofleet teachers fetch sam2.1-tiny`.")
        return None
    if not any(worker.alive and worker.device != "cpu" for worker in client.workers.list()):
        console.print(
            f"Teacher: the first model. {tiny.name} is here, but would take hours without an accelerator; "
            f"`--teacher {tiny.name}` insists."
        )
        return None
    console.print(f"Teacher: {tiny.name}")
    return teacher_of(tiny.name)


@contextmanager
def _cancelled_on_interrupt(client: PicofleetClient, console: Console, pipeline_id: str) -> Iterator[None]:
    """Ctrl-C stops the pipeline first, so that nothing of it is left to run after the next start."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("Cancelling the pipeline ...")
        with suppress(ClientError):
            client.pipelines.cancel(pipeline_id)
            deadline = time.monotonic() + CANCEL_WAIT_S
            while not client.pipelines.get(pipeline_id).state.is_final and time.monotonic() < deadline:
                time.sleep(0.2)
        raise


def _show(client: PicofleetClient, console: Console, up: "Up", pipeline: PipelineOut, begun: float) -> str:
    """Print what came out; the line to end with."""
    steps = {step.name: step for step in pipeline.steps}
    first, second, evaluated = steps["train"].model or "", steps["distil"].model or "", steps["evaluate"]
    console.print()
    show_evaluation(evaluated.result, {first: "(masks alone)", second: "(distilled)"})
    console.print()
    for name in ("quantize", "quantize_cpu"):
        if name in steps:
            show_quantization(steps[name].result)
            console.print()
    if "package" in steps:
        show_packaging(steps["package"].result)
        console.print()
    runs = {step.name: run for step in pipeline.steps if step.job_id and (run := client.jobs.get(step.job_id).mlflow_run_id)}
    for name, run_id in runs.items():
        console.print(f"  {name:<23}{up.mlflow_url}/#/runs/{run_id}", soft_wrap=True)
    console.print(f"  {'side by side':<23}{escaped(comparison_url(up.mlflow_url, list(runs.values())))}", soft_wrap=True)
    for name, run_id in runs.items():
        folder = up.home.path / "demo" / pipeline.id / name
        if pictures := _pictures(up, run_id, folder):
            console.print(f"  {f'{name} pictures':<23}{escaped(str(folder))}: {', '.join(pictures)}", soft_wrap=True)
    console.print(f"  {'lineage':<23}picofleet models lineage {escaped(second)}")
    folder = up.home.path / "demo" / pipeline.id
    packaged = f" {keep_package(client, console, steps['package'], folder)}" if "package" in steps else ""
    small = f" {_quantized(steps['quantize'])}" if "quantize" in steps else ""
    served = serve_and_try(client, console, pipeline, folder)
    rolled_out = _rolled_out(client, console, steps.get("package"))
    console.print()
    shown = " ".join(f"{name} {evaluated.result[name]:.3f}" for name in ("miou_96", "miou_96_pad") if name in evaluated.result)
    return f"demo ok: {shown} model {second}{small}{packaged} {served}{rolled_out} time {clock(time.monotonic() - begun)}"


def _rolled_out(client: PicofleetClient, console: Console, packaging: StepOut | None) -> str:
    """The words for the demo's last line; none without a package."""
    if packaging is None:
        console.print("No package was made, so nothing is rolled out to cameras.")
        return ""
    return f" {roll_out(client, console, packaging)}"


def _quantized(step: StepOut) -> str:
    """The words for the demo's last line."""
    return f"quantized {step.model} {step.result['size_bytes'] / 1e6:.2f} MB drop {step.result['miou_96_drop']:+.4f}"


def _pictures(up: "Up", run_id: str, folder: Path) -> dict[str, Path]:
    """The newest of each kind of picture that the run has, saved in ``folder``; MLflow keeps all of them."""
    newest: dict[str, str] = {}
    with RunFiles(up.mlflow_url, run_id) as files:
        for path in sorted(path for path in files.list() if path.endswith(".png")):
            newest[Path(path).stem] = path  # steps are numbered with zeros in front: the last one sorts last
        return {name: files.save(path, folder / f"{name}.png") for name, path in newest.items()}


def _leave(home: "Home", up: "Up", console: Console, *, keep: bool) -> None:
    from infra.embedded import platform

    if keep:
        console.print(f"The platform stays up: {up.jobs_url}/docs and {up.mlflow_url}. Stop it with `picofleet down`.")
        return
    with _undisturbed():
        console.print("Stopping the platform ...")
        platform.down(home)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave half of the platform behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """A SIGTERM, as CI systems send it, tidies up as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
