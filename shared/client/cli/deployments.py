"""`picofleet deployments`: names under which model versions are in use, on CPUs or on cameras."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from pydantic import TypeAdapter

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
from shared.client.cli.completion import complete_deployment, complete_fleet_package, complete_group, complete_model
from shared.client.cli.deployment_view import contents_in_words, followed, show_deployment, state_of
from shared.client.errors import Unusable
from shared.contracts.deployments import FLEET, CpuTarget, DeploymentIn, DeploymentOut, Engine, FleetTarget

app = typer.Typer(no_args_is_help=True, help="Deployments: names under which model versions are in use, on CPUs or on cameras.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="As default.", autocompletion=complete_deployment)]
WaitFlag = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is served, or its rollout has begun.")]
WaitLimit = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="With --wait: at most so long.")]
LONGEST_SPEC: Final = 1 << 20
_HELP: Final = "See `picofleet deployments put --help`; `deployments show NAME --json` has every field."


@app.command("list")
def list_deployments(ctx: typer.Context, limit: LimitOption = 50, as_json: JsonFlag = False) -> None:
    """List deployments, what serves them, and whether all of it is ready."""

    def row(found: DeploymentOut) -> list[str]:
        shadow = escaped(found.shadow.model) if found.shadow else ""
        cells = [escaped(found.name), str(found.generation), contents_in_words(found), shadow, state_of(found)]
        return [*cells, age(found.updated_at)]

    empty = "No deployments. Make one: `picofleet deployments put default NAME/VERSION`."
    columns = ["deployment", "generation", "versions", "shadow", "state", "changed"]
    show_list(client(ctx).deployments.list(limit=limit), as_json, columns, row, empty)


@app.command("show")
def show(ctx: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show one deployment: its parts of the traffic, its replicas, and how its shadow agrees; or how its rollout stands."""
    found = client(ctx).deployments.get(name)
    if as_json:
        print_json(found)
    else:
        out().print(show_deployment(found))


@app.command("put")
def put(
    ctx: typer.Context,
    name: NameArgument,
    versions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL[=PERCENT]...",
            help="As picosam2/3 or picosam2@champion=10; the first gets what the others leave.",
            autocompletion=complete_model,
        ),
    ] = None,
    shadow: Annotated[
        str | None,
        typer.Option(metavar="MODEL[=PERCENT]", help="Asked as well and only compared.", autocompletion=complete_model),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="When an alias moves, the deployment moves with it.")] = False,
    engine: Annotated[Engine | None, typer.Option(help="For all versions; default: onnxruntime.")] = None,
    parallel: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Networks at the same time; default: one per processor."),
    ] = None,
    max_batch: Annotated[int | None, typer.Option(min=0, max=64, help="Windows of several requests in one run.")] = None,
    fleet: Annotated[
        str | None,
        typer.Option(metavar="GROUP", help="On its cameras, by a rollout, instead of on CPUs.", autocompletion=complete_group),
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(metavar="LINE/RELEASE", help="With --fleet: as picosam2/3.", autocompletion=complete_fleet_package),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The whole specification as JSON, instead of options.")
    ] = None,
    wait: WaitFlag = True,
    timeout: WaitLimit = 120,
    as_json: JsonFlag = False,
) -> None:
    """Make a deployment, or make it another: without a request lost.

    picofleet deployments put default picosam2/3
    picofleet deployments put default picosam2/3 picosam2.int8@champion=10 --follow
    picofleet deployments put default picosam2/3 --shadow picosam2/4
    picofleet deployments put gate --fleet berlin --package picosam2/3
    picofleet deployments put default --file spec.json
    """
    options = {
        "follow_aliases": follow or None,
        "parallel": parallel,
        "batching": None if max_batch is None else {"max_batch": max_batch},
        "shadow": None if shadow is None else _part(shadow, engine),
    }
    given = {key: value for key, value in options.items() if value is not None}
    is_on_cpus = bool(versions or given or engine is not None)
    spec: DeploymentIn
    if file is not None:
        if is_on_cpus or fleet is not None or package is not None:
            raise UsageError("--file holds all of it.", hint="Leave out the versions and the other options.")
        spec = _from_file(file)
    elif fleet is not None or package is not None:
        if is_on_cpus or fleet is None or package is None:
            raise UsageError("A fleet needs --fleet and --package, and nothing else.", hint="Phases and limits: with --file.")
        spec = checked(lambda: FleetTarget(target=f"{FLEET}{fleet}", package=package), _HELP)
    else:
        spec = checked(lambda: CpuTarget.model_validate({"versions": _parts(versions or [], engine)} | given), _HELP)
    _show_made(ctx, client(ctx).deployments.put(name, spec), wait_s=timeout if wait else None, as_json=as_json)


@app.command("rollback")
def rollback(
    ctx: typer.Context,
    name: NameArgument,
    to: Annotated[int | None, typer.Option(min=1, help="Generation; default: the one before.")] = None,
    wait: WaitFlag = True,
    timeout: WaitLimit = 120,
    as_json: JsonFlag = False,
) -> None:
    """Serve again what was served before. On a fleet, each camera returns to the package that it had before.

    picofleet deployments rollback default
    """
    _show_made(ctx, client(ctx).deployments.rollback(name, to), wait_s=timeout if wait else None, as_json=as_json)


@app.command("revisions")
def revisions(ctx: typer.Context, name: NameArgument, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List the generations of a deployment, and why each came."""
    columns = ["generation", "versions", "shadow", "why", "by", "age"]
    show_list(
        client(ctx).deployments.revisions(name, limit=limit),
        as_json,
        columns,
        lambda found: [
            str(found.generation),
            contents_in_words(found),
            escaped(found.shadow.model) if found.shadow else "",
            escaped(found.reason),
            escaped(found.created_by),
            age(found.created_at),
        ],
        "No revisions.",
    )


@app.command("rm")
def remove(ctx: typer.Context, name: NameArgument, yes: YesFlag = False) -> None:
    """Stop serving under this name. The models stay in the registry, and cameras as they are; a running rollout is aborted."""
    confirm(f"Stop serving {name}?", yes=yes)
    client(ctx).deployments.delete(name)
    err().print("Removed.")


def _show_made(ctx: typer.Context, made: DeploymentOut, *, wait_s: float | None, as_json: bool) -> None:
    if wait_s is not None:
        made = followed(client(ctx), made, wait_s)
    if as_json:
        print_json(made)
    else:
        out().print(f"{escaped(made.name)} generation {made.generation}: {contents_in_words(made)}")
        if made.rollout is not None and made.rollout.id is not None:
            out().print(f"  picofleet rollouts watch {escaped(made.rollout.id)}")


def _parts(versions: list[str], engine: Engine | None) -> list[dict[str, Any]]:
    """Traffic of ``["a/1", "b/2=10"]``: what has no percentage, the first alone, gets the rest."""
    if not versions:
        raise UsageError("No version is named.", hint="As `picofleet deployments put default picosam2/3`, or --file.")
    parts = [_part(text, engine) for text in versions]
    open_ones = [part for part in parts[1:] if "percent" not in part]
    if open_ones:
        raise UsageError(f"How much goes to {open_ones[0]['model']}?", hint=f"Write {open_ones[0]['model']}=PERCENT.")
    if "percent" not in parts[0]:
        parts[0]["percent"] = 100 - sum(part["percent"] for part in parts[1:])
    return parts


def _part(text: str, engine: Engine | None) -> dict[str, Any]:
    model, sign, percent = text.partition("=")
    if sign and not (percent.isascii() and percent.isdecimal() and len(percent) <= 3):
        raise UsageError(f"{text!r}: {percent!r} is no percentage.", hint="As picosam2/3=10: a whole number up to 100.")
    return {"model": model} | ({"percent": int(percent)} if sign else {}) | ({"engine": engine} if engine else {})


def _from_file(file: Path) -> DeploymentIn:
    if file.stat().st_size > LONGEST_SPEC:
        raise Unusable(f"{file} is too long for a specification.")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise Unusable(f"{file} is no JSON: {exc}") from exc
    return checked(lambda: TypeAdapter[DeploymentIn](DeploymentIn).validate_python(content), _HELP)
