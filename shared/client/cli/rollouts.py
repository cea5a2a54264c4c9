"""`picofleet rollouts`: bring a package to cameras, phase by phase."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.client.cli import rollout_options
from shared.client.cli.camera_view import coloured_action
from shared.client.cli.common import (
    JsonFlag,
    LimitOption,
    UsageError,
    YesFlag,
    age,
    checked,
    client,
    confirm,
    err,
    escaped,
    out,
    print_json,
    show_list,
)
from shared.client.cli.completion import complete_camera, complete_fleet_package, complete_group, complete_rollout
from shared.client.cli.durations import seconds
from shared.client.cli.rollout_view import (
    coloured,
    counts_in_words,
    follow_rollout,
    require_finished,
    show_preview,
    show_rollout,
)
from shared.client.resources.fleet_rollouts import Rollouts
from shared.client.sdk import PicofleetClient
from shared.contracts.rollouts import (
    ActionOut,
    ActionState,
    CloneIn,
    OnFailure,
    PackageImport,
    RolloutIn,
    RolloutOut,
    RolloutState,
)

app = typer.Typer(no_args_is_help=True, help="Rollouts: bring a package to cameras, phase by phase.")

RolloutArgument = Annotated[
    str,
    typer.Argument(metavar="ROLLOUT", help="Its id, its name (the newest of it), or last.", autocompletion=complete_rollout),
]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; it is kept in the history.")]
WatchFlag = Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")]
Health = "Health during the soak"
Pace = "Pace"


@app.command("create")
def create(
    ctx: typer.Context,
    package: Annotated[
        str | None,
        typer.Argument(metavar="LINE/RELEASE", help="As picosam2/3.", autocompletion=complete_fleet_package),
    ] = None,
    group: Annotated[str | None, typer.Option(help="To its cameras.", autocompletion=complete_group)] = None,
    selector: Annotated[str | None, typer.Option("--selector", "-l", help="To those with these labels.")] = None,
    camera: Annotated[
        list[str] | None, typer.Option(help="To this one; may be repeated.", autocompletion=complete_camera)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Default: of the package, as picosam2-3.")] = None,
    phases: Annotated[
        str | None, typer.Option(metavar="SIZES", help="As 1,25%,100%; each counts those before. Default: 5%,25%,100%.")
    ] = None,
    soak: Annotated[str | None, typer.Option(metavar="TIME", help="A phase must hold so long. Default: 10m.")] = None,
    success: Annotated[int | None, typer.Option(help="Percent of a phase that must run the package. Default: 95.")] = None,
    failure: Annotated[int | None, typer.Option(help="Percent that may fail; more is too much. Default: 10.")] = None,
    failure_min: Annotated[int | None, typer.Option(help="Failures before that is looked at. Default: 1.")] = None,
    on_failure: Annotated[OnFailure | None, typer.Option(help="Then. Default: roll_back.")] = None,
    approve_phase: Annotated[
        list[int] | None, typer.Option(metavar="NUMBER", help="A person must approve this phase; may be repeated.")
    ] = None,
    approval: Annotated[bool | None, typer.Option("--approval", help="A person must approve the rollout.")] = None,
    per_minute: Annotated[int | None, typer.Option(help="So many cameras a minute at first.", rich_help_panel=Pace)] = None,
    growth: Annotated[
        float | None, typer.Option(help="The pace grows so each time it went well.", rich_help_panel=Pace)
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="A camera has so long. Default: 7d.", rich_help_panel=Pace),
    ] = None,
    priority: Annotated[int | None, typer.Option(help="Of two rollouts the higher goes first. Default: 50.")] = None,
    late_joiners: Annotated[
        bool | None, typer.Option("--late-joiners/--no-late-joiners", help="New cameras of the group take part.")
    ] = None,
    max_missing_frames: Annotated[float | None, typer.Option(help="Percent. Default: 5.", rich_help_panel=Health)] = None,
    max_dnn_ms: Annotated[float | None, typer.Option(help="Of one run of the network.", rich_help_panel=Health)] = None,
    max_restarts: Annotated[int | None, typer.Option(help="Of the agent. Default: 3.", rich_help_panel=Health)] = None,
    golden: Annotated[
        bool | None, typer.Option("--golden/--no-golden", help="Failing golden frames fail it.", rich_help_panel=Health)
    ] = None,
    min_agreement: Annotated[
        float | None,
        typer.Option(help="Mean IoU of sampled masks with the reference model's.", rich_help_panel=Health),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The whole rollout as JSON; the other options go before it."),
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start at once.")] = False,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a rollout: a draft, or with --start one that runs. The package is imported if it is not there yet.

    picofleet rollouts create picosam2/3 --group berlin --phases 1,25%,100% --soak 10m --start --watch
    """
    opened = client(ctx)
    per_phase: dict[str, Any] = {"soak": soak, "success": success, "failure": failure, "failure_min": failure_min}
    quality = None if min_agreement is None else {"min_agreement": min_agreement}
    shaped = phases is not None or quality is not None or approve_phase or any(each is not None for each in per_phase.values())
    health = {"max_missing_frame_percent": max_missing_frames, "max_dnn_ms": max_dnn_ms, "max_restarts": max_restarts}
    options: dict[str, Any] = {
        "package": package,
        "group": group,
        "selector": selector,
        "cameras": [opened.fleet.cameras.named(each).id for each in camera] if camera else None,
        "name": name,
        "on_failure": on_failure,
        "phases": rollout_options.phases(phases, **per_phase, approve=approve_phase or (), quality=quality) if shaped else None,
        "approval": approval,
        "rate": _given({"per_minute": per_minute, "growth": growth}),
        "deadline_s": None if deadline is None else seconds(deadline, "--deadline"),
        "priority": priority,
        "late_joiners": late_joiners,
        "health": _given(health | {"golden": golden}),
        "start": start or None,
    }
    wanted = _wanted(_given(options) or {}, file)
    _import_if_missing(opened, wanted.package)
    made = opened.fleet.rollouts.create(wanted)
    if watch and not made.state.is_final and made.state is not RolloutState.DRAFT:
        _watched(opened, made, as_json)
    else:
        _show_changed(made, as_json)


@app.command("list")
def list_rollouts(
    ctx: typer.Context,
    state: Annotated[list[RolloutState] | None, typer.Option(help="Only these; may be repeated.")] = None,
    package: Annotated[str | None, typer.Option(help="Of this package.", autocompletion=complete_fleet_package)] = None,
    limit: LimitOption = 20,
    as_json: JsonFlag = False,
) -> None:
    """List rollouts, newest first."""

    def row(found: RolloutOut) -> list[str]:
        cells = [escaped(found.name), escaped(found.package), coloured(found.state), counts_in_words(found.counts)]
        return [*cells, age(found.created_at), found.id, escaped(found.reason)]

    empty = "No rollouts. Make one: `picofleet rollouts create picosam2/3 --group berlin --start`."
    listed = client(ctx).fleet.rollouts.list(states=state or (), package=package, limit=limit)
    show_list(listed, as_json, ["rollout", "package", "state", "cameras", "age", "id", ""], row, empty)


@app.command("show")
def show(ctx: typer.Context, rollout: RolloutArgument, as_json: JsonFlag = False) -> None:
    """Show one rollout: its phases, and how its cameras stand."""
    found = _named(client(ctx).fleet.rollouts, rollout)
    if as_json:
        print_json(found)
    else:
        show_rollout(found)


@app.command("preview")
def preview(ctx: typer.Context, rollout: RolloutArgument, as_json: JsonFlag = False) -> None:
    """Show which cameras a rollout would touch if it started now."""
    rollouts = client(ctx).fleet.rollouts
    found = rollouts.preview(_named(rollouts, rollout).id)
    if as_json:
        print_json(found)
    else:
        show_preview(found)


@app.command("watch")
def watch_rollout(ctx: typer.Context, rollout: RolloutArgument, as_json: JsonFlag = False) -> None:
    """Follow a rollout to its end. Ctrl-C stops following, not the rollout. Exit code 0 if it finished, else 1."""
    opened = client(ctx)
    _watched(opened, _named(opened.fleet.rollouts, rollout), as_json)


@app.command("start")
def start_rollout(ctx: typer.Context, rollout: RolloutArgument, watch: WatchFlag = False, as_json: JsonFlag = False) -> None:
    """Start a draft."""
    opened = client(ctx)
    made = opened.fleet.rollouts.start(_named(opened.fleet.rollouts, rollout).id)
    if watch:
        _watched(opened, made, as_json)
    else:
        _show_changed(made, as_json)


@app.command("pause")
def pause(ctx: typer.Context, rollout: RolloutArgument, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
    """Let no further camera in; those that are at it go on."""
    _do(ctx, rollout, lambda rollouts, found: rollouts.pause(found.id, reason), as_json)


@app.command("resume")
def resume(ctx: typer.Context, rollout: RolloutArgument, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
    """Go on with one that is paused."""
    _do(ctx, rollout, lambda rollouts, found: rollouts.resume(found.id, reason), as_json)


@app.command("approve")
def approve(ctx: typer.Context, rollout: RolloutArgument, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
    """Approve a rollout, or its phase that waits for it."""
    _do(ctx, rollout, lambda rollouts, found: rollouts.approve(found.id, reason), as_json)


@app.command("retry")
def retry(ctx: typer.Context, rollout: RolloutArgument, reason: ReasonOption = "", as_json: JsonFlag = False) -> None:
    """Let those cameras try again that have failed."""
    _do(ctx, rollout, lambda rollouts, found: rollouts.retry(found.id, reason), as_json)


@app.command("abort")
def abort(
    ctx: typer.Context, rollout: RolloutArgument, reason: ReasonOption = "", yes: YesFlag = False, as_json: JsonFlag = False
) -> None:
    """Stop a rollout for good. Cameras that have the package keep it; `rollback` returns them."""
    question = "Abort {name}? Cameras that have the package keep it."
    _do(ctx, rollout, lambda rollouts, found: rollouts.abort(found.id, reason), as_json, question=None if yes else question)


@app.command("rollback")
def rollback(
    ctx: typer.Context,
    rollout: RolloutArgument,
    reason: ReasonOption = "",
    yes: YesFlag = False,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Return every camera that a rollout touched to its last good package."""
    opened = client(ctx)
    found = _named(opened.fleet.rollouts, rollout)
    confirm(f"Return all cameras that {found.name} touched to their last good packages?", yes=yes)
    made = opened.fleet.rollouts.rollback(found.id, reason)
    if watch:
        made = follow_rollout(opened, made)
    _show_changed(made, as_json)


@app.command("clone")
def clone(
    ctx: typer.Context,
    rollout: RolloutArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the new one.")],
    package: Annotated[str | None, typer.Option(help="Another package.", autocompletion=complete_fleet_package)] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a draft as a rollout was, maybe of another package."""
    opened = client(ctx)
    body = checked(lambda: CloneIn.model_validate({"name": name, "package": package}), rollout_options.HELP)
    if package is not None:
        _import_if_missing(opened, package)
    _show_changed(opened.fleet.rollouts.clone(_named(opened.fleet.rollouts, rollout).id, body), as_json)


@app.command("delete", hidden=True)
@app.command("rm")
def remove(ctx: typer.Context, rollout: RolloutArgument, yes: YesFlag = False) -> None:
    """Remove a draft. What was started stays, for its history."""
    rollouts = client(ctx).fleet.rollouts
    found = _named(rollouts, rollout)
    confirm(f"Remove the rollout {found.name} ({found.state})?", yes=yes)
    rollouts.delete(found.id)
    err().print("Removed.")


@app.command("actions")
def actions(
    ctx: typer.Context,
    rollout: RolloutArgument,
    state: Annotated[list[ActionState] | None, typer.Option(help="Only these; may be repeated.")] = None,
    phase: Annotated[int | None, typer.Option(min=1, help="Only of this phase.")] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List each camera's part in a rollout."""

    def row(found: ActionOut) -> list[str]:
        cells = [str(found.id), escaped(found.controller_id), str(found.phase or ""), found.kind.value]
        return [*cells, coloured_action(found.state), age(found.released_at), escaped(found.message)]

    rollouts = client(ctx).fleet.rollouts
    listed = rollouts.actions(_named(rollouts, rollout).id, states=state or (), phase=phase, limit=limit)
    show_list(
        listed, as_json, ["action", "camera", "phase", "kind", "state", "since", ""], row, "No camera has a part in it yet."
    )


def _wanted(options: dict[str, Any], file: Path | None) -> RolloutIn:
    if file is not None:
        return rollout_options.from_file(file, options)
    if "package" not in options:
        raise UsageError("No package is named.", hint="As `picofleet rollouts create picosam2/3 --group berlin`, or --file.")
    if not {"group", "selector", "cameras"} & set(options):
        raise UsageError("To which cameras?", hint="Give --group, --selector or --camera; --selector '' is all of them.")
    options.setdefault("name", rollout_options.default_name(options["package"]))
    return checked(lambda: RolloutIn.model_validate(options), rollout_options.HELP)


def _given(options: dict[str, Any]) -> dict[str, Any] | None:
    return {key: value for key, value in options.items() if value is not None} or None


def _import_if_missing(opened: PicofleetClient, package: str) -> None:
    if opened.fleet.packages.find(package) is None:
        opened.fleet.packages.import_(PackageImport(package=package))
        err().print(escaped(f"{package} was imported and verified."))


def _named(rollouts: Rollouts, name: str) -> RolloutOut:
    if name != "last":
        return rollouts.named(name)
    found = next(rollouts.list(limit=1), None)
    if found is None:
        raise UsageError("There is no rollout yet.", hint="Make one: `picofleet rollouts create picosam2/3 --group berlin`.")
    return found


def _do(
    ctx: typer.Context,
    rollout: str,
    verb: Callable[[Rollouts, RolloutOut], RolloutOut],
    as_json: bool,
    *,
    question: str | None = None,
) -> None:
    rollouts = client(ctx).fleet.rollouts
    found = _named(rollouts, rollout)
    if question is not None:
        confirm(question.format(name=found.name), yes=False)
    _show_changed(verb(rollouts, found), as_json)


def _watched(opened: PicofleetClient, found: RolloutOut, as_json: bool) -> None:
    ended = follow_rollout(opened, found)
    if as_json:
        print_json(ended)
    else:
        show_rollout(ended)
    require_finished(ended)


def _show_changed(made: RolloutOut, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    out().print(f"{escaped(made.name)} is {coloured(made.state)}: {escaped(made.package)}, id {made.id}")
    if made.reason:
        err().print(escaped(made.reason))
    if made.state is RolloutState.DRAFT:
        err().print(
            f"See whom it would touch: `picofleet rollouts preview {made.id}`. Start it: `picofleet rollouts start {made.id}`."
        )
