"""`picofleet groups`: sets of cameras by their labels."""

import re
from typing import Annotated, Any

import typer

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
    show_fields,
    show_list,
)
from shared.client.cli.completion import complete_group
from shared.client.cli.durations import seconds
from shared.contracts.cameras import GroupIn, GroupOut, MaintenanceWindow, Weekday

app = typer.Typer(no_args_is_help=True, help="Groups: sets of cameras by their labels.")

NameArgument = Annotated[str, typer.Argument(metavar="GROUP", help="As berlin.", autocompletion=complete_group)]
_WINDOW = re.compile(r"(?:(?P<days>[a-z,-]+) )?(?P<start>\d{1,2}:\d{2}) (?P<length>\w+)")
_WINDOW_HELP = "As '02:00 3h' for every night, or 'sat,sun 22:00 90min', or 'mon-fri 02:00 3h'."


@app.command("put")
def put(
    ctx: typer.Context,
    name: NameArgument,
    selector: Annotated[
        str, typer.Argument(metavar="SELECTOR", help="As 'site=berlin,model in (a, b),!old'; none: every camera.")
    ] = "",
    description: Annotated[str, typer.Option(help="For people.")] = "",
    time_zone: Annotated[str, typer.Option(help="Of its maintenance windows, as Europe/Berlin.")] = "UTC",
    maintenance: Annotated[
        list[str] | None,
        typer.Option(metavar="'[DAYS] START LENGTH'", help=f"When cameras may be changed. {_WINDOW_HELP} May be repeated."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a group, or make it another. Rollouts under way keep the cameras that they began with.

    picofleet groups put berlin site=berlin --time-zone Europe/Berlin --maintenance 'mon-fri 02:00 3h'
    """
    fields = {"selector": selector, "description": description, "time_zone": time_zone}
    windows = [_window(text) for text in maintenance or []]
    body = checked(lambda: GroupIn.model_validate(fields | {"maintenance": windows}), "See `picofleet groups put --help`.")
    made = client(ctx).fleet.groups.put(name, body)
    if as_json:
        print_json(made)
    else:
        out().print(escaped(f"{made.name}: {_cameras(made.cameras)}"))


@app.command("list")
def list_groups(ctx: typer.Context, limit: LimitOption = 50, as_json: JsonFlag = False) -> None:
    """List groups, and how many cameras each has now."""

    def row(found: GroupOut) -> list[str]:
        cells = [escaped(found.name), str(found.cameras), escaped(found.selector or "(every camera)")]
        return [*cells, escaped("; ".join(window_in_words(each) for each in found.maintenance)), age(found.updated_at)]

    empty = "No groups. Make one: `picofleet groups put berlin site=berlin`."
    columns = ["group", "cameras", "selector", "maintenance", "changed"]
    show_list(client(ctx).fleet.groups.list(limit=limit), as_json, columns, row, empty)


@app.command("show")
def show(ctx: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show one group. Its cameras: `picofleet cameras list --group NAME`."""
    found = client(ctx).fleet.groups.get(name)
    if as_json:
        print_json(found)
        return
    windows = "\n".join(window_in_words(each) for each in found.maintenance)
    show_fields(
        [
            ("group", found.name),
            ("description", found.description),
            ("selector", found.selector or "(every camera)"),
            ("cameras", found.cameras),
            ("time zone", found.time_zone),
            ("maintenance", windows or "at any time"),
            ("changed", f"{age(found.updated_at)} ago"),
        ]
    )


@app.command("delete", hidden=True)
@app.command("rm")
def remove(ctx: typer.Context, name: NameArgument, yes: YesFlag = False) -> None:
    """Remove a group. Its cameras stay."""
    confirm(f"Remove the group {name}?", yes=yes)
    client(ctx).fleet.groups.delete(name)
    err().print("Removed.")


def window_in_words(window: MaintenanceWindow) -> str:
    """As ``sat,sun 22:00 90min``."""
    days = "" if len(set(window.days)) == len(Weekday) else ",".join(day.value for day in window.days) + " "
    length = f"{window.minutes // 60}h" if window.minutes % 60 == 0 else f"{window.minutes}min"
    return f"{days}{window.start:%H:%M} {length}"


def _window(text: str) -> dict[str, Any]:
    found = _WINDOW.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"--maintenance {text!r} is no window.", hint=_WINDOW_HELP)
    window: dict[str, Any] = {"start": found["start"].zfill(5), "minutes": int(seconds(found["length"], "--maintenance") / 60)}
    return window | ({"days": _days(found["days"])} if found["days"] else {})


def _days(text: str) -> list[Weekday]:
    order = list(Weekday)
    chosen: list[Weekday] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        try:
            begin, end = order.index(Weekday(first)), order.index(Weekday(last or first))
        except ValueError as exc:
            raise UsageError(f"--maintenance: {part!r} is no day.", hint=_WINDOW_HELP) from exc
        span = order[begin : end + 1] if begin <= end else order[begin:] + order[: end + 1]
        chosen += [day for day in span if day not in chosen]
    return chosen


def _cameras(number: int) -> str:
    return "1 camera" if number == 1 else f"{number} cameras"
