"""`picofleet jobs`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from shared.client.cli.common import (
    JsonFlag,
    LimitOption,
    UsageError,
    age,
    checked,
    client,
    err,
    escaped,
    out,
    pairs,
    print_json,
    show_fields,
    show_list,
)
from shared.client.cli.completion import complete_job, complete_split
from shared.client.cli.watch import clock, follow
from shared.client.errors import JobFailed
from shared.contracts.datasets import DatasetSelection
from shared.contracts.jobs import JobKind, JobOut, JobState, TrainingSubmission

app = typer.Typer(no_args_is_help=True, help="Submit jobs, follow them, stop them.")
submit = typer.Typer(no_args_is_help=True, help="Queue a job.")
app.add_typer(submit, name="submit")

JobArgument = Annotated[str, typer.Argument(help="Id of the job, or `last` for the newest.", autocompletion=complete_job)]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="May be repeated.")]
COLOURS = {
    JobState.SUCCEEDED: "green",
    JobState.FAILED: "red",
    JobState.LOST: "red",
    JobState.RUNNING: "cyan",
    JobState.CANCELLED: "yellow",
}


@submit.command("training")
def submit_training(
    ctx: typer.Context,
    train: Annotated[
        list[str] | None, typer.Option(metavar="DATASET/SPLIT", help="May be repeated.", autocompletion=complete_split)
    ] = None,
    validation: Annotated[str | None, typer.Option(metavar="DATASET/SPLIT", autocompletion=complete_split)] = None,
    name: Annotated[str | None, typer.Option(help="Shown in lists and as the MLflow run's name.")] = None,
    samples: Annotated[int | None, typer.Option(help="Samples drawn in all.")] = None,
    batch_size: Annotated[int | None, typer.Option()] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At the peak.")] = None,
    seed: Annotated[int | None, typer.Option()] = None,
    initial_model: Annotated[str | None, typer.Option(metavar="NAME/VERSION", help="Start from these weights.")] = None,
    register_as: Annotated[str | None, typer.Option(help="Name in the model registry; default: picosam2.")] = None,
    no_register: Annotated[bool, typer.Option("--no-register", help="Register nothing.")] = False,
    tag: TagOption = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Any other knob, as recipe.augmentation.flip=0.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="JSON file with the submission; options go before it.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job to its end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train PicoSAM2.

    `picofleet jobs kinds --json` lists every knob with its default and range.

      picofleet jobs submit training --train coco2017/train --validation coco2017/val --watch
      picofleet jobs submit training --train a/train --train b/all --validation a/val --set recipe.window.side=128
    """
    wanted = _spec_file(spec)
    if train:
        wanted["train"] = [_selection(text) for text in train]
    if validation:
        wanted["validation"] = _selection(validation)
    recipe: dict[str, Any] = {"samples": samples, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed}
    for key, value in recipe.items():
        _put(wanted, f"recipe.{key}", value)
    for key, value in {"name": name, "initial_model": initial_model, "register_as": register_as}.items():
        _put(wanted, key, value)
    if no_register:
        wanted["register_as"] = None
    if tag:
        wanted["tags"] = wanted.get("tags", {}) | pairs(tag, "--tag")
    for key, text in pairs(set_ or [], "--set").items():
        _put(wanted, key, _value(text))
    for needed in ("train", "validation"):
        if needed not in wanted:
            raise UsageError(f"--{needed} is missing.", hint="As in --train coco2017/train --validation coco2017/val.")
    job = client(ctx).jobs.submit_training(checked(lambda: TrainingSubmission.model_validate(wanted)))
    if watch:
        _finish(ctx, follow(client(ctx), job.id), as_json)
    elif as_json:
        print_json(job)
    else:
        err().print(f"Queued. Follow it with `picofleet jobs watch {job.id}`.")
        out().print(job.id)


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    state: Annotated[list[JobState] | None, typer.Option(help="Only these; may be repeated.")] = None,
    kind: Annotated[JobKind | None, typer.Option()] = None,
    tag: TagOption = None,
    limit: LimitOption = 20,
    as_json: JsonFlag = False,
) -> None:
    """List jobs, newest first."""

    def row(job: JobOut) -> list[str]:
        return [job.id, job.kind.value, escaped(job.name or ""), coloured(job.state), where(job), age(job.created_at)]

    found = client(ctx).jobs.list(states=state or (), kind=kind, tags=tag or (), limit=limit)
    show_list(found, as_json, ["id", "kind", "name", "state", "", "age"], row, "No jobs.")


@app.command("show")
def show_job(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Show one job."""
    found = client(ctx).jobs.get(_job_id(ctx, job))
    if as_json:
        print_json(found)
    else:
        show_one(found)


@app.command("watch")
def watch_job(
    ctx: typer.Context,
    job: JobArgument,
    logs: Annotated[bool, typer.Option(help="Show log lines too.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Follow a job to its end. Ctrl-C stops following, not the job. Exit code 1 unless it succeeds."""
    _finish(ctx, follow(client(ctx), _job_id(ctx, job), logs=logs), as_json)


@app.command("logs")
def job_logs(ctx: typer.Context, job: JobArgument) -> None:
    """Print what a job has logged so far."""
    out().print(client(ctx).jobs.logs(_job_id(ctx, job)), markup=False, end="")


@app.command("cancel")
def cancel_job(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Stop a job; it keeps its last checkpoint."""
    found = client(ctx).jobs.cancel(_job_id(ctx, job))
    if as_json:
        print_json(found)
    else:
        err().print(f"{found.id} is {found.state.value}.")


@app.command("retry")
def retry_job(ctx: typer.Context, job: JobArgument, as_json: JsonFlag = False) -> None:
    """Queue a failed or cancelled job again; it goes on from its last checkpoint."""
    found = client(ctx).jobs.retry(_job_id(ctx, job))
    if as_json:
        print_json(found)
    else:
        err().print(f"{found.id} is {found.state.value}.")


@app.command("kinds")
def job_kinds(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the kinds of jobs; with --json also the schema of each, with every default and range."""
    kinds = client(ctx).jobs.kinds()
    show_list(
        kinds,
        as_json,
        ["kind", "submitted to", ""],
        lambda kind: [kind.kind.value, kind.submit or "", escaped(kind.description)],
        "No kinds.",
    )


def show_one(job: JobOut) -> None:
    """A job as lines of name and value."""
    took = clock((job.finished_at - job.started_at).total_seconds()) if job.started_at and job.finished_at else ""
    outputs = [f"{made.registered_model}/{made.version or 'pending'}" for made in job.outputs if made.registered_model]
    figures = "  ".join(f"{key} {value:.4g}" for key, value in job.result.items() if isinstance(value, int | float))
    show_fields(
        [
            ("job", job.id),
            ("name", job.name),
            ("kind", job.kind.value),
            ("state", job.state.value),
            ("waits for", job.waiting_for),
            ("attempt", job.attempt or ""),
            ("worker", job.worker),
            ("took", took),
            ("progress", where(job) if not job.state.is_final else ""),
            ("result", figures),
            ("models", ", ".join(outputs)),
            ("run", job.mlflow_url),
            ("tags", ", ".join(f"{key}={value}" for key, value in job.tags.items())),
            ("error", job.error.message if job.error else ""),
            ("hint", job.error.hint if job.error else ""),
        ]
    )


def coloured(state: JobState) -> str:
    """A state in its colour."""
    return f"[{COLOURS[state]}]{state.value}[/]" if state in COLOURS else state.value


def where(job: JobOut) -> str:
    """In a few words: how far a job is, why it waits, or how it ended."""
    if job.error is not None and job.state.is_final:
        return escaped(job.error.type)
    if job.waiting_for:
        return escaped(job.waiting_for)
    if job.progress is not None and not job.state.is_final:
        total = job.progress.total
        return f"{job.progress.phase} {100 * job.progress.done // total} %" if total else job.progress.phase
    if "miou_96" in job.result:
        return f"miou_96 {job.result['miou_96']:.3f}"
    return ""


def require_success(job: JobOut) -> JobOut:
    """``job`` itself if it succeeded; else JobFailed with its reason."""
    if job.state is JobState.SUCCEEDED:
        return job
    if job.error is not None:
        raise JobFailed(f"Job {job.id} failed ({job.error.type}): {job.error.message}", hint=job.error.hint)
    raise JobFailed(f"Job {job.id} is {job.state.value}.", hint=f"`picofleet jobs retry {job.id}` queues it again.")


def _finish(_: typer.Context, job: JobOut, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        show_one(job)
    require_success(job)


def _job_id(ctx: typer.Context, text: str) -> str:
    if text != "last":
        return text
    newest = next(client(ctx).jobs.list(limit=1), None)
    if newest is None:
        raise UsageError("There is no job yet.")
    return newest.id


def _selection(text: str) -> dict[str, str]:
    dataset, slash, split = text.rpartition("/")
    if not slash or not dataset or not split:
        raise UsageError(f"{text!r} is not written DATASET/SPLIT.", hint="As in coco2017/train.")
    return checked(lambda: DatasetSelection(dataset=dataset, split=split)).model_dump()


def _spec_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, ValidationError) as exc:
        raise UsageError(f"{path} is no JSON file: {exc}") from exc
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no JSON object.")
    return found


def _put(target: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path, unless the value is None (an option that was not given)."""
    if value is None:
        return
    *folders, last = path.split(".")
    for folder in folders:
        target = target.setdefault(folder, {})
        if not isinstance(target, dict):
            raise UsageError(f"--set {path}: {folder} is no group of settings.")
    target[last] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
