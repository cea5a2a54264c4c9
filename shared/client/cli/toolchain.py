"""`picofleet toolchain`: Sony's IMX500 converter on this machine, which packaging needs."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from shared.client.cli.cache import size
from shared.client.cli.common import Globals, JsonFlag, UsageError, YesFlag, confirm, err, escaped, out, print_json, show_fields
from shared.kit.toolchain import licence
from shared.kit.toolchain.install import install, remove
from shared.kit.toolchain.pins import CONVERTER
from shared.kit.toolchain.place import Place, State, Status
from shared.kit.toolchain.settings import ToolchainSettings

app = typer.Typer(
    no_args_is_help=True, help="Sony's IMX500 converter: proprietary, installed on request into a place of its own."
)

AcceptFlag = Annotated[
    bool, typer.Option("--accept-licence", "--accept-license", help="You have agreed to Sony's terms; do not ask.")
]


@app.command("install")
def install_toolchain(ctx: typer.Context, accept_licence: AcceptFlag = False, as_json: JsonFlag = False) -> None:
    """Install the converter and, where the machine has none, a Java. Repairs what is broken; harmless if all is there.

    picofleet toolchain install
    picofleet toolchain install --accept-licence
    """
    place, started = _place(ctx), time.monotonic()
    found = place.status()
    if found.state is not State.READY:
        agree(place.pins.version, accept_licence)
        with progress(quiet=as_json) as report:
            found = install(place, licence_accepted=True, report=report)
        err().print(f"{CONVERTER} {place.pins.version} is installed ({time.monotonic() - started:.0f} s).")
    else:
        err().print(f"{CONVERTER} {place.pins.version} is installed already.")
    if as_json:
        print_json(_as_json(place, found, runs=True))
    else:
        out().print(escaped(str(place.folder)))


@app.command("status")
def toolchain_status(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Show whether the converter is there, whole, and runs. Exit code 3 unless it is."""
    place = _place(ctx)
    found = place.status()
    runs = found.state is State.READY and place.told_version() == place.pins.version
    if as_json:
        print_json(_as_json(place, found, runs=runs))
    else:
        _show(place, found, runs=runs)
    if not runs:
        raise typer.Exit(3)


@app.command("remove")
def remove_toolchain(ctx: typer.Context, yes: YesFlag = False) -> None:
    """Remove the converter from this machine's disk."""
    place = _place(ctx)
    if place.folder.exists():
        confirm(f"Remove {place.folder}?", yes=yes)
    err().print("The toolchain was removed." if remove(place) else "There was no toolchain.")


def _place(ctx: typer.Context) -> Place:
    options: Globals = ctx.obj
    return Place.of(ToolchainSettings(home=options.home))


def agree(version: str, accepted: bool) -> None:
    """Show the notice, whoever has agreed to what; UsageError without an agreement."""
    for paragraph in licence.notice(version).splitlines():
        err().print(escaped(paragraph), soft_wrap=True)
    if accepted:
        return
    question = "Have you agreed to Sony's licence for the converter?"
    if not sys.stdin.isatty():
        raise UsageError(
            f"{question} There is no terminal to ask on.", hint="If so: picofleet toolchain install --accept-licence"
        )
    typer.confirm(question, abort=True, err=True)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar over the packages; without a terminal nothing but what is said at the end."""
    if quiet or not sys.stderr.isatty():
        yield lambda *_: None
        return
    columns = (SpinnerColumn(), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.description}"))
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task("waiting for another installation", total=1)
        yield lambda doing, done, total: bar.update(task, description=escaped(doing), completed=done, total=total)


def _show(place: Place, found: Status, *, runs: bool) -> None:
    mark = found.mark
    state = found.state.value if runs or found.state is not State.READY else "broken"
    trouble = found.trouble or (None if runs or found.state is State.MISSING else "the converter does not start")
    show_fields(
        [
            ("toolchain", f"{CONVERTER} {mark.version if mark else place.pins.version}"),
            ("state", f"{state}: {trouble}" if trouble else state),
            ("folder", place.folder),
            ("size", size(mark.size_bytes) if mark else None),
            ("digest", mark.digest if mark else None),
            ("java", f"{found.java.version}, {found.java.path}" if found.java else "none"),
            ("installed", mark.installed_at.isoformat(timespec="seconds") if mark else None),
        ]
    )
    if not runs:
        err().print("Install or repair it: picofleet toolchain install")


def _as_json(place: Place, found: Status, *, runs: bool) -> dict[str, Any]:
    java, mark = found.java, found.mark
    return {
        "version": place.pins.version,
        "state": found.state.value,
        "trouble": found.trouble,
        "runs": runs,
        "folder": str(place.folder),
        "digest": mark.digest if mark else None,
        "size_bytes": mark.size_bytes if mark else None,
        "installed_at": mark.installed_at.isoformat() if mark else None,
        "packages": mark.packages if mark else None,
        "java": {"version": java.version, "path": str(java.path), "source": java.source} if java else None,
    }
