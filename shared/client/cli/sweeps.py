"""`picofleet sweeps`."""

import re
from typing import Annotated, Any, Final, Literal

import typer

from shared.client.cli.common import (
    JsonFlag,
    LimitOption,
    TagOption,
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
    table,
)
from shared.client.cli.completion import complete_sweep
from shared.client.cli.pipeline_view import coloured
from shared.client.cli.submit import (
    SetOption,
    SpecOption,
    SplitOption,
    TrainOption,
    draft,
    json_value,
    selection,
    teacher_of,
)
from shared.client.errors import JobFailed
from shared.contracts.jobs import JobKind
from shared.contracts.pipelines import PipelineState, SweepIn, SweepOut, TrialOut, TrialState

app = typer.Typer(no_args_is_help=True, help="Many jobs of one kind that differ in some fields.")

SweepArgument = Annotated[str, typer.Argument(help="Id of the sweep, or `last` for the newest.", autocompletion=complete_sweep)]
_RANGE: Final = re.compile(r"(?P<low>[^:]+):(?P<high>[^:]+)(:(?P<more>[^:]+))?")


@app.command("submit")
def submit(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Also of the MLflow run that has the trials below it.")],
    kind: Annotated[JobKind, typer.Option(help="Of the trials.")] = JobKind.TRAINING,
    train: TrainOption = None,
    validation: SplitOption = None,
    teacher: Annotated[str | None, typer.Option(metavar="TEACHER", help="With --kind distillation.")] = None,
    set_: SetOption = None,
    spec: SpecOption = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=V,V,...", help="Values to combine with those of the other grids; may be repeated."),
    ] = None,
    range_: Annotated[
        list[str] | None,
        typer.Option("--range", metavar="PATH=LOW:HIGH[:log|:STEP]", help="Optuna chooses from it; may be repeated."),
    ] = None,
    choice: Annotated[
        list[str] | None, typer.Option(metavar="PATH=V,V,...", help="Optuna chooses one of these; may be repeated.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="With --range or --choice; default: 20.")] = None,
    sampler: Annotated[Literal["tpe", "random"] | None, typer.Option()] = None,
    seed: Annotated[int | None, typer.Option(help="Of the sampler.")] = None,
    figure: Annotated[str | None, typer.Option(help="Of the jobs' results; default: miou_96.")] = None,
    minimize: Annotated[bool, typer.Option("--minimize", help="Less is better.")] = False,
    parallel: Annotated[int | None, typer.Option(help="Trials at a time; default: 1.")] = None,
    max_failed: Annotated[int | None, typer.Option(help="Give up after more failed trials than this.")] = None,
    tag: TagOption = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the sweep to its end.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a sweep over a grid, or one in which Optuna proposes each trial from those before it.

    picofleet sweeps submit rates --train a/train --validation a/val --grid recipe.learning_rate=0.001,0.002,0.004
    picofleet sweeps submit search --train a/train --validation a/val --trials 30 \
        --range recipe.learning_rate=1e-4:1e-2:log --choice recipe.batch_size=16,32
    """
    fields: dict[str, Any] = {
        "train": [selection(text) for text in train] if train else None,
        "validation": selection(validation) if validation else None,
        "teacher": teacher_of(teacher) if teacher else None,
    }
    search = _search(grid, range_, choice, {"trials": trials, "sampler": sampler, "seed": seed})
    limits = {"parallel": parallel, "max_failed": max_failed}
    wanted = {
        "name": name,
        "tags": pairs(tag or [], "--tag"),
        "base": {"kind": kind, "spec": draft(spec, fields, None, set_)},
        "search": search,
        "objective": {"direction": "minimize" if minimize else "maximize"} | ({"figure": figure} if figure else {}),
    } | {key: value for key, value in limits.items() if value is not None}
    started = client(ctx).sweeps.submit(checked(lambda: SweepIn.model_validate(wanted)))
    if watch:
        _finish(follow_sweep(ctx, started.id), as_json)
    elif as_json:
        print_json(started)
    else:
        err().print(f"Started: {started.total} trials. Look at it with `picofleet sweeps show {started.id}`.")
        out().print(started.id)


@app.command("list")
def list_sweeps(ctx: typer.Context, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List sweeps, newest first."""

    def row(sweep: SweepOut) -> list[str]:
        best = f"{sweep.objective.figure} {sweep.best.figure:.4g}" if sweep.best and sweep.best.figure is not None else ""
        return [sweep.id, escaped(sweep.name), coloured(sweep.state), _counted(sweep), escaped(best), age(sweep.created_at)]

    columns = ["id", "name", "state", "trials", "best", "age"]
    show_list(client(ctx).sweeps.list(limit=limit), as_json, columns, row, "No sweeps.")


@app.command("show")
def show(ctx: typer.Context, sweep: SweepArgument, as_json: JsonFlag = False) -> None:
    """Show one sweep and its trials."""
    found = client(ctx).sweeps.get(_sweep_id(ctx, sweep))
    if as_json:
        print_json(found)
    else:
        show_sweep(found)


@app.command("watch")
def watch_sweep(ctx: typer.Context, sweep: SweepArgument, as_json: JsonFlag = False) -> None:
    """Follow a sweep to its end. Ctrl-C stops following, not the sweep. Exit code 1 unless it succeeds."""
    _finish(follow_sweep(ctx, _sweep_id(ctx, sweep)), as_json)


@app.command("cancel")
def cancel(ctx: typer.Context, sweep: SweepArgument, as_json: JsonFlag = False) -> None:
    """Stop a sweep: its running trials are cancelled, no others start."""
    found = client(ctx).sweeps.cancel(_sweep_id(ctx, sweep))
    if as_json:
        print_json(found)
    else:
        err().print(f"{found.id} is {found.state.value}.")


def follow_sweep(ctx: typer.Context, sweep_id: str) -> SweepOut:
    """A line per trial that ended, until the sweep has."""
    told: set[int] = set()
    for sweep in client(ctx).sweeps.follow(sweep_id):
        for trial in sweep.trials:
            if trial.state is not TrialState.RUNNING and trial.number not in told:
                told.add(trial.number)
                best = "  best so far" if sweep.best is not None and sweep.best.number == trial.number else ""
                err().print(f"trial {trial.number + 1}/{sweep.total}: {_outcome(trial, sweep)}{best}", markup=False)
    return sweep


def show_sweep(sweep: SweepOut) -> None:
    """A sweep in full: what it is, and a line per trial, the best in bold."""
    show_fields(
        [
            ("sweep", sweep.id),
            ("name", sweep.name),
            ("kind", sweep.base.kind.value),
            ("state", sweep.state.value),
            ("trials", _counted(sweep)),
            ("objective", f"{sweep.objective.direction} {sweep.objective.figure}"),
            ("waits for", sweep.waiting_for),
            ("run", sweep.mlflow_url),
            ("tags", ", ".join(f"{key}={value}" for key, value in sweep.tags.items())),
            ("error", sweep.error.message if sweep.error else ""),
            ("hint", sweep.error.hint if sweep.error else ""),
        ]
    )
    if sweep.trials:
        out().print(
            table(["trial", "state", sweep.objective.figure, "job", ""], [_row(trial, sweep) for trial in sweep.trials])
        )


def _row(trial: TrialOut, sweep: SweepOut) -> list[str]:
    figure = f"{trial.figure:.4g}" if trial.figure is not None else ""
    best = sweep.best is not None and sweep.best.number == trial.number
    shown = f"[bold green]{figure}[/]" if best else figure
    detail = trial.error.message if trial.error else _values(trial)
    return [str(trial.number), trial.state.value, shown, trial.job_id or "", escaped(detail)]


def _outcome(trial: TrialOut, sweep: SweepOut) -> str:
    figure = f"  {sweep.objective.figure} {trial.figure:.4g}" if trial.figure is not None else ""
    error = f"  {trial.error.message}" if trial.error else ""
    return f"{trial.state.value}{figure}  {_values(trial)}{error}"


def _values(trial: TrialOut) -> str:
    return "  ".join(
        f"{path}={value:.4g}" if isinstance(value, float) else f"{path}={value}" for path, value in trial.values.items()
    )


def _counted(sweep: SweepOut) -> str:
    counts = [f"{count} {state.value}" for state, count in sweep.counts.items() if count]
    return f"{', '.join(counts) or '0'} of {sweep.total}"


def _search(
    grid: list[str] | None, ranges: list[str] | None, choices: list[str] | None, knobs: dict[str, Any]
) -> dict[str, Any]:
    """The search that the options describe; UsageError if they describe none or two."""
    told = {key: value for key, value in knobs.items() if value is not None}
    if bool(grid) == bool(ranges or choices):
        raise UsageError(
            "Either --grid, or --range and --choice, say what is varied.", hint="As in --grid recipe.learning_rate=0.001,0.002."
        )
    if grid:
        if told:
            raise UsageError(f"--{next(iter(told))} belongs to --range and --choice: a grid has all its combinations.")
        return {"kind": "grid", "fields": {path: _values_of(text) for path, text in pairs(grid, "--grid").items()}}
    fields: dict[str, Any] = {path: _range(text) for path, text in pairs(ranges or [], "--range").items()}
    for path, text in pairs(choices or [], "--choice").items():
        if path in fields:
            raise UsageError(f"{path} has a --range and a --choice.")
        fields[path] = {"choices": _values_of(text)}
    return {"kind": "optuna", "fields": fields} | told


def _values_of(text: str) -> list[Any]:
    """``1,2,x`` or a JSON array, for values that hold commas."""
    whole = json_value(text)
    return whole if isinstance(whole, list) else [json_value(part) for part in text.split(",")]


def _range(text: str) -> dict[str, Any]:
    found = _RANGE.fullmatch(text)
    if found is None:
        raise UsageError(f"--range {text!r} is not written LOW:HIGH.", hint="As in 0.0001:0.01:log, or 8:64:8.")
    more = found["more"]
    made = {"low": json_value(found["low"]), "high": json_value(found["high"])}
    if more == "log":
        return made | {"log": True}
    return made | ({"step": json_value(more)} if more else {})


def _finish(sweep: SweepOut, as_json: bool) -> None:
    if as_json:
        print_json(sweep)
    else:
        show_sweep(sweep)
    if sweep.state is not PipelineState.SUCCEEDED:
        reason = f": {sweep.error.message}" if sweep.error else "."
        raise JobFailed(f"Sweep {sweep.id} is {sweep.state.value}{reason}", hint=sweep.error.hint if sweep.error else "")


def _sweep_id(ctx: typer.Context, text: str) -> str:
    if text != "last":
        return text
    newest = next(client(ctx).sweeps.list(limit=1), None)
    if newest is None:
        raise UsageError("There is no sweep yet.")
    return newest.id
