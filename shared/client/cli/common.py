"""What all commands share: options, consoles, output."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from shared.client.config import Connection, connection
from shared.client.errors import ClientError
from shared.client.sdk import PicofleetClient

T = TypeVar("T", bound=BaseModel)

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of text for people.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="May be repeated.")]
PIPE_WIDTH: Final = 4096
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class UsageError(ClientError):
    """The command line asks for something that cannot be: exit code 2."""


class Interrupted(ClientError):
    """Ctrl-C, after everything was tidied up: exit code 130."""


@dataclass(frozen=True, slots=True)
class Globals:
    """The options before the command."""

    home: Path
    url: str | None
    api_key: str | None
    inference_url: str | None = None
    fleet_url: str | None = None


def client(ctx: typer.Context) -> PicofleetClient:
    """A client for the service that the options name; closed when the command ends."""
    opened = PicofleetClient(connection_of(ctx))
    ctx.call_on_close(opened.close)
    return opened


def connection_of(ctx: typer.Context) -> Connection:
    """What the options name."""
    options: Globals = ctx.obj
    return connection(options.home, options.url, options.api_key, options.inference_url, options.fleet_url)


def mlflow_url(ctx: typer.Context) -> str | None:
    """MLflow of the embedded platform; None if the options name another service."""
    options: Globals = ctx.obj
    return connection(options.home, options.url, options.api_key).mlflow_url


def out() -> Console:
    """Results. Piped into another program they are neither wrapped nor cut."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def err() -> Console:
    """Everything that is not the result."""
    return Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else PIPE_WIDTH)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """Models, paths and times as JSON knows them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def show_list(items: Iterable[T], as_json: bool, columns: Sequence[str], row: Callable[[T], Sequence[str]], empty: str) -> None:
    """A list as a table, or as a JSON array."""
    found = list(items)
    if as_json:
        print_json(found)
    elif not found:
        err().print(empty)
    else:
        out().print(table(columns, [row(item) for item in found]))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table that stays readable in narrow terminals and when copied."""
    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0)  # ids and names must survive copying
    for cells in rows:
        made.add_row(*cells)
    return made


def show_fields(fields: Iterable[tuple[str, Any]]) -> None:
    """One thing as lines of name and value; empty values are left out."""
    shown = [(name, str(value)) for name, value in fields if value not in (None, "", [], {})]
    width = max(len(name) for name, _ in shown) + 2
    console = out()
    for name, value in shown:
        lines = escaped(value).replace("\n", "\n" + " " * width)
        console.print(f"[bold]{name:<{width}}[/bold]{lines}", soft_wrap=True)


def escaped(text: str) -> str:
    """``text`` from outside, safe to print: its brackets are no markup."""
    from rich.markup import escape

    return escape(text)


def age(moment: datetime | None) -> str:
    """How long ago, in one unit; empty for None."""
    if moment is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def checked(build: Callable[[], T], hint: str = "See --help, or `picofleet jobs kinds --json` for every field.") -> T:
    """What ``build`` makes of the options; UsageError naming each wrong field."""
    try:
        return build()
    except ValidationError as exc:
        wrong = [f"{'.'.join(str(part) for part in error['loc']) or 'value'}: {error['msg']}" for error in exc.errors()]
        raise UsageError("; ".join(wrong), hint=hint) from exc


def pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """``["a=b"]`` as a mapping; UsageError for anything else."""
    found = {}
    for value in values:
        key, sign, rest = value.partition("=")
        if not sign or not key:
            raise UsageError(f"{option} {value!r} is not written KEY=VALUE.")
        found[key] = rest
    return found


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; without a terminal only ``yes`` lets it pass."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} There is no terminal to ask on.", hint="Add --yes.")
    typer.confirm(question, abort=True, err=True)
