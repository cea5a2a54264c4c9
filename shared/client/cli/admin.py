"""`picofleet workers` and `picofleet keys`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from shared.client.cli.common import JsonFlag, YesFlag, age, checked, client, confirm, err, escaped, out, print_json, show_list
from shared.contracts.keys import KeyIn, KeyOut, Scope
from shared.contracts.worker import WorkerOut

keys = typer.Typer(no_args_is_help=True, help="API keys: who may do what.")


def workers(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the workers and what they are busy with."""

    def row(worker: WorkerOut) -> list[str]:
        state = "[green]alive[/green]" if worker.alive else "[red]silent[/red]"
        queues = ", ".join(worker.queues)
        return [escaped(worker.worker), state, f"{worker.busy}/{worker.slots}", worker.device, queues, age(worker.last_seen_at)]

    show_list(
        client(ctx).workers.list(), as_json, ["worker", "state", "busy", "device", "queues", "heard of"], row, "No workers."
    )


@keys.command("list")
def list_keys(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List all keys; secrets are never shown."""

    def row(key: KeyOut) -> list[str]:
        state = f"revoked {age(key.revoked_at)} ago" if key.revoked_at else ""
        return [key.id, escaped(key.name), key.scope.value, age(key.created_at), age(key.last_used_at) or "never", state]

    show_list(client(ctx).keys.list(), as_json, ["id", "name", "scope", "age", "last used", ""], row, "No keys.")


@keys.command("create")
def create_key(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.VIEWER,
    days: Annotated[int | None, typer.Option(min=1, help="Valid for so many days; default: until revoked.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a key. Its secret is printed once, alone on stdout, and cannot be shown again.

    picofleet keys create dashboard --scope viewer --days 90
    """
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    key = client(ctx).keys.create(checked(lambda: KeyIn(name=name, scope=scope, expires_at=expires)))
    if as_json:
        print_json(key)
        return
    err().print(f"Key {key.id} ({key.scope.value}) was made. Keep its secret: it is not shown again.")
    out().print(key.secret, markup=False)


@keys.command("revoke")
def revoke_key(ctx: typer.Context, key_id: Annotated[str, typer.Argument(help="Id of the key.")], yes: YesFlag = False) -> None:
    """Take a key out of use at once."""
    confirm(f"Revoke key {key_id}?", yes=yes)
    client(ctx).keys.revoke(key_id)
    err().print("Revoked.")


@keys.command("self")
def own_key(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Show which key this command line uses."""
    key = client(ctx).keys.own()
    if as_json:
        print_json(key)
    else:
        out().print(f"{escaped(key.name)} ({key.scope.value}), id {key.id}")
