"""`picofleet demo`: the whole way once, from images to a registered model."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from shared.client.cli.common import Globals, Interrupted, checked, escaped, out
from shared.client.cli.job_view import require_success
from shared.client.cli.platform import DataOption, state_table
from shared.client.cli.watch import clock, follow
from shared.client.demo_data import DemoData, ensure_registered, generated, real_images, selections
from shared.client.errors import ClientError
from shared.client.mlflow_run import RunFiles
from shared.client.sdk import PicofleetClient
from shared.contracts.jobs import JobOut, TrainingSubmission

if TYPE_CHECKING:
    from infra.embedded.home import Home
    from infra.embedded.platform import Up

CANCEL_WAIT_S: Final = 10.0
REGISTRY_WAIT_S: Final = 60.0
_PICTURES: Final = {"samples": "masks picture", "curves": "loss and IoU", "iou_by_size": "IoU by size"}
_FIGURES: Final = ("miou_96", "miou_96_pad", "miou_96_unclipped", "hit_rate_50_95", "mask_ap")


@dataclass(frozen=True, slots=True)
class Wishes:
    """How much is trained. None: the recipe's default."""

    samples: int | None
    batch_size: int | None
    seed: int | None


def demo(
    ctx: typer.Context,
    samples: Annotated[int | None, typer.Option(min=1, help="Samples drawn in all; default: the recipe's.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1)] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    images: Annotated[int, typer.Option(min=10, help="Without real images: how many are generated.")] = 400,
    keep: Annotated[bool, typer.Option("--keep", envvar="KEEP", help="Leave the platform up at the end.")] = False,
    data: DataOption = None,
) -> None:
    """Train PicoSAM2 through the whole platform: REST, queue, worker, MLflow, model registry.

    Starts the platform, registers images, trains, shows what came out, and stops the platform (unless it was up before).
    Real images come from the folder PICOFLEET_DATA; without it the built-in generator makes some.

      picofleet demo
      picofleet demo --samples 2000 --keep
    """
    from infra.embedded.home import Home

    options: Globals = ctx.obj
    home = Home.at(options.home)
    with _terminated_like_interrupted():
        line = _run(home, data, images, Wishes(samples, batch_size, seed), keep)
    out().print(line)


def _run(home: "Home", data: Path | None, images: int, wishes: Wishes, keep: bool) -> str:
    """The demo's last line."""
    from infra.embedded import platform

    begun = time.monotonic()
    console = out()
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
        with PicofleetClient(up.jobs_url, home.admin_key.read_text().strip()) as client:
            _require_roots(up, source, data)
            job = _train(client, console, source, wishes)
            return _show(client, console, up, job, time.monotonic() - begun)
    except KeyboardInterrupt:
        raise Interrupted("Interrupted.", hint="`picofleet demo` again reuses what was prepared.") from None
    except ClientError as exc:
        exc.hint = f"{exc.hint} Logs: {home.logs}".strip()
        raise
    finally:
        if up is not None and up.started:
            _leave(home, up, console, keep=keep)


def _require_roots(up: "Up", source: DemoData, data: Path | None) -> None:
    if data is not None and data.resolve() not in up.dataset_roots:
        raise ClientError(
            f"The running platform does not take {source.origin}.", hint="`picofleet down`, then start the demo again."
        )


def _train(client: PicofleetClient, console: Console, source: DemoData, wishes: Wishes) -> JobOut:
    """Register what is missing, submit, follow; the job that succeeded."""
    names: dict[str, str] = {}
    waiting = []
    for wanted in source.datasets:
        dataset, reused = ensure_registered(client, wanted)
        names[wanted.name] = dataset.name
        waiting.append((dataset, reused))
    for dataset, reused in waiting:
        if not reused and dataset.import_job is not None:
            follow(client, dataset.import_job)
        ready = client.datasets.wait_ready(dataset.id)
        splits = ", ".join(f"{split} {counts.instances} masks" for split, counts in ready.splits.items())
        console.print(f"Dataset {ready.name}{' (reused)' if reused else ''}: {splits}, {ready.digest}")
    train, validation = selections(names, source)
    recipe = {
        key: value
        for key, value in {"samples": wishes.samples, "batch_size": wishes.batch_size, "seed": wishes.seed}.items()
        if value is not None
    }
    body = {"name": "demo", "tags": {"made-by": "demo"}, "train": train, "validation": validation, "recipe": recipe}
    job = client.jobs.submit_training(checked(lambda: TrainingSubmission.model_validate(body)))
    console.print(f"Training job {job.id}")
    with _cancelled_on_interrupt(client, console, job.id):
        return require_success(follow(client, job.id))


@contextmanager
def _cancelled_on_interrupt(client: PicofleetClient, console: Console, job_id: str) -> Iterator[None]:
    """Ctrl-C stops the job first, so that nothing of it is left to run after the next start."""
    try:
        yield
    except KeyboardInterrupt:
        console.print("Cancelling the job ...")
        with suppress(ClientError):
            client.jobs.cancel(job_id)
            deadline = time.monotonic() + CANCEL_WAIT_S
            while not client.jobs.get(job_id).state.is_final and time.monotonic() < deadline:
                time.sleep(0.2)
        raise


def _show(client: PicofleetClient, console: Console, up: "Up", job: JobOut, seconds: float) -> str:
    """Print what came out; the line to end with."""
    job = _registered(client, job)
    figures = {name: float(job.result[name]) for name in _FIGURES if isinstance(job.result.get(name), int | float)}
    versions = [f"{made.registered_model}/{made.version}" for made in job.outputs if made.registered_model and made.version]
    console.print()
    for name, value in figures.items():
        console.print(f"  {name:<18}{value:.3f}")
    console.print(f"  model             {', '.join(versions) or 'not registered yet'}")
    console.print(f"  MLflow run        {job.mlflow_url or up.mlflow_url}")
    for name, path in _pictures(up, job).items():
        console.print(f"  {_PICTURES.get(name, name):<18}{escaped(str(path))}")
    console.print()
    shown = " ".join(f"{name} {figures[name]:.3f}" for name in ("miou_96", "miou_96_pad") if name in figures)
    return f"demo ok: {shown} model {versions[0] if versions else 'pending'} time {clock(seconds)}"


def _registered(client: PicofleetClient, job: JobOut) -> JobOut:
    """The job once the registry has given its model a version; as it is after a minute otherwise."""
    deadline = time.monotonic() + REGISTRY_WAIT_S
    while time.monotonic() < deadline:
        job = client.jobs.get(job.id)
        if all(made.version is not None for made in job.outputs if made.registered_model):
            break
        time.sleep(0.5)
    return job


def _pictures(up: "Up", job: JobOut) -> dict[str, Path]:
    """The newest of each kind of picture that the run has, saved beside the platform's data; MLflow keeps all of them."""
    if job.mlflow_run_id is None:
        return {}
    folder = up.home.path / "demo" / job.id
    newest: dict[str, str] = {}
    with RunFiles(up.mlflow_url, job.mlflow_run_id) as files:
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
