"""`picofleet provisioning-tokens`: with which devices register themselves."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from shared.client.cli.camera_view import labels_in_words
from shared.client.cli.common import (
    JsonFlag,
    LimitOption,
    YesFlag,
    age,
    checked,
    client,
    confirm,
    err,
    escaped,
    out,
    pairs,
    print_json,
    show_list,
)
from shared.contracts.cameras import CameraFormat, ProvisioningTokenIn, ProvisioningTokenOut

app = typer.Typer(no_args_is_help=True, help="Provisioning tokens: with which devices register themselves.")


@app.command("create")
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for, as berlin-2026.")],
    label: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of cameras that come with it.")] = None,
    format_: Annotated[CameraFormat, typer.Option("--format", help="What they install.")] = CameraFormat.PACKAGE,
    max_cameras: Annotated[int, typer.Option(min=1, help="So many may come with it.")] = 1000,
    days: Annotated[int | None, typer.Option(min=1, help="Valid for so many days; default: until revoked.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a token. It is printed once, alone on stdout, and cannot be shown again.

    picofleet provisioning-tokens create berlin-2026 --label site=berlin --max-cameras 200 --days 30
    """
    fields = {"name": name, "labels": pairs(label or [], "--label"), "format": format_, "max_cameras": max_cameras}
    expires = datetime.now(UTC) + timedelta(days=days) if days else None
    body = checked(
        lambda: ProvisioningTokenIn.model_validate(fields | {"expires_at": expires}),
        "See `picofleet provisioning-tokens create --help`.",
    )
    made = client(ctx).fleet.provisioning_tokens.create(body)
    if as_json:
        print_json(made)
        return
    err().print(
        escaped(f"{made.name} has id {made.id}. Devices send it as `Authorization: GatewayToken ...`. It is not shown again.")
    )
    out().print(made.token, markup=False)


@app.command("list")
def list_tokens(ctx: typer.Context, limit: LimitOption = 50, as_json: JsonFlag = False) -> None:
    """List provisioning tokens and how many cameras came with each. Their secrets are not shown."""

    def row(found: ProvisioningTokenOut) -> list[str]:
        came = f"{found.cameras} of {found.max_cameras}"
        cells = [found.id, escaped(found.name), escaped(labels_in_words(found.labels)), came, age(found.created_at)]
        return [*cells, _standing(found)]

    empty = "No provisioning tokens. Make one: `picofleet provisioning-tokens create berlin --label site=berlin`."
    columns = ["id", "name", "labels", "cameras", "age", ""]
    show_list(client(ctx).fleet.provisioning_tokens.list(limit=limit), as_json, columns, row, empty)


@app.command("revoke")
def revoke(ctx: typer.Context, token_id: Annotated[str, typer.Argument(help="Its id.")], yes: YesFlag = False) -> None:
    """Let nobody in with it any more."""
    confirm(f"Revoke the provisioning token {token_id}?", yes=yes)
    client(ctx).fleet.provisioning_tokens.revoke(token_id)
    err().print("Revoked.")


def _standing(found: ProvisioningTokenOut) -> str:
    if found.revoked_at is not None:
        return "[red]revoked[/red]"
    if found.expires_at is not None and found.expires_at <= datetime.now(UTC):
        return "[yellow]expired[/yellow]"
    return ""
