"""`picofleet up`, `down` and `status`: the embedded platform. What runs it is imported only when it is needed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from shared.client.cli.common import Globals, JsonFlag, err, escaped, out, print_json, table

if TYPE_CHECKING:
    from infra.embedded.platform import ProgramStatus, Status

RootsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--data-root",
        exists=True,
        file_okay=False,
        help="Folder below which datasets may be registered in place; may be repeated. PICOFLEET_DATA is always one.",
    ),
]
DataOption = Annotated[Path | None, typer.Option(envvar="PICOFLEET_DATA", hidden=True)]


def up(ctx: typer.Context, data_root: RootsOption = None, data: DataOption = None, as_json: JsonFlag = False) -> None:
    """Start the platform on this machine and wait until all of it works. Harmless if it is up.

    Redis, MLflow, the jobs service, the inference service, the fleet service and a worker: on the loopback interface
    alone, restarted when they die.

      picofleet up
      picofleet up --data-root /data/images
    """
    from infra.embedded.home import Home
    from infra.embedded.platform import up as start

    options: Globals = ctx.obj
    home = Home.at(options.home)
    roots = [*(data_root or []), *([data] if data else [])]
    with state_table(quiet=as_json) as on_state:
        platform = start(home, dataset_roots=roots, on_state=on_state)
    if as_json:
        names = ("jobs_url", "inference_url", "inference_grpc", "fleet_url", "mlflow_url")
        urls = {name: getattr(platform, name) for name in names}
        print_json({"home": home.path} | urls | {"admin_key_file": home.admin_key, "started": platform.started})
        return
    console = out()
    console.print("Picofleet is up." if platform.started else "Picofleet was up already.")
    console.print(f"  REST API    {platform.jobs_url}/docs")
    console.print(f"  Inference   {platform.inference_url}/docs, gRPC {platform.inference_grpc}")
    console.print(f"  Fleet       {platform.fleet_url}/docs")
    console.print(f"  MLflow      {platform.mlflow_url}")
    console.print(f"  admin key   {escaped(str(home.admin_key))}")
    console.print(f"  logs        {escaped(str(home.logs))}")
    console.print(f"  images from {escaped(', '.join(str(root) for root in platform.dataset_roots))}")
    missing = [root for root in roots if root.resolve() not in platform.dataset_roots]
    if missing:
        err().print(
            f"[yellow]Not among the folders of the running platform: {escaped(str(missing[0]))}. Stop it and start anew.[/]"
        )


def down(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Stop the platform, with the children of running jobs. They go on from their checkpoints after the next `up`."""
    from infra.embedded.home import Home
    from infra.embedded.platform import down as stop

    options: Globals = ctx.obj
    home = Home.at(options.home)
    if not home.path.exists():
        stopped, forced = list[int](), list[int]()
    else:
        result = stop(home)
        stopped, forced = result.stopped, result.forced
    if as_json:
        print_json({"stopped": stopped, "forced": forced})
    elif stopped:
        out().print(f"Picofleet is down ({len(stopped)} processes stopped).")
    else:
        out().print("Picofleet was not up.")


def status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Show how each process of the platform is doing. Exit code 3 unless all of them work."""
    from infra.embedded.home import Home
    from infra.embedded.platform import status as ask

    options: Globals = ctx.obj
    found = ask(Home.at(options.home))
    if as_json:
        print_json(_status_json(found))
    elif found.supervisor_pid is None:
        out().print(f"Picofleet is down (home {escaped(str(found.home))}).")
        if found.orphans:
            out().print(
                f"Left over from a crash: {', '.join(map(str, found.orphans))}; `picofleet up` or `down` clears them away."
            )
    else:
        out().print(rows_table(found.programs))
    if not found.is_up:
        raise typer.Exit(3)


def rows_table(rows: "list[ProgramStatus]") -> Table:
    """The processes as a table."""
    marks = {True: "[green]ok[/green]", False: "[yellow]waiting[/yellow]"}
    cells = []
    for row in rows:
        mark = marks[row.trouble is None] if row.state in {"running", "starting"} else f"[red]{row.state}[/red]"
        detail = escaped(row.trouble or row.url or "")
        cells.append([row.name, mark, str(row.pid or ""), f"{row.up_s:.0f} s" if row.pid else "", detail])
    return table(["process", "state", "pid", "up", ""], cells)


@contextmanager
def state_table(*, quiet: bool = False) -> "Iterator[Callable[[list[ProgramStatus]], None]]":
    """A live table while the platform starts; without a terminal one line per process that became ready."""
    ready: set[str] = set()

    def in_lines(rows: "list[ProgramStatus]") -> None:
        for row in rows:
            if row.trouble is None and row.name not in ready and not quiet:
                ready.add(row.name)
                err().print(f"{row.name} is ready")

    if quiet or not sys.stderr.isatty():
        yield in_lines
        return
    with Live(console=err(), transient=True, refresh_per_second=4) as live:
        yield lambda rows: live.update(rows_table(rows))


def _status_json(found: "Status") -> dict[str, Any]:
    programs = [
        {
            "name": row.name,
            "state": row.state,
            "pid": row.pid,
            "up_s": round(row.up_s, 1),
            "url": row.url,
            "trouble": row.trouble,
        }
        for row in found.programs
    ]
    return {
        "home": str(found.home),
        "up": found.is_up,
        "supervisor_pid": found.supervisor_pid,
        "programs": programs,
        "orphans": found.orphans,
    }
