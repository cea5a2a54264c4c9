"""`picofleet cameras`: devices, their labels and their tokens."""

from typing import Annotated, Any

import typer

from shared.client.cli.camera_view import HEALTH_COLOURS, labels_in_words, show_camera
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
    pairs,
    print_json,
    show_list,
)
from shared.client.cli.completion import complete_camera, complete_fleet_package, complete_group
from shared.client.cli.durations import seconds
from shared.contracts.cameras import CameraChange, CameraCreated, CameraFormat, CameraIn, CameraOut, HealthState
from shared.contracts.rollouts import ActionOut

app = typer.Typer(no_args_is_help=True, help="Cameras: devices, their labels and their tokens.")

CameraArgument = Annotated[
    str, typer.Argument(metavar="CAMERA", help="Its id, or what it calls itself.", autocompletion=complete_camera)
]
LabelOption = Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.")]
_HELP = "Labels are written as Kubernetes has them: site=berlin; letters, digits, dot, hyphen and underscore."


@app.command("register")
def register(
    ctx: typer.Context,
    controller_id: Annotated[str, typer.Argument(metavar="CONTROLLER-ID", help="What the device calls itself.")],
    label: LabelOption = None,
    format_: Annotated[CameraFormat, typer.Option("--format", help="What it installs.")] = CameraFormat.PACKAGE,
    token: Annotated[
        str | None, typer.Option(envvar="PICOFLEET_CAMERA_TOKEN", help="That the device has already; default: one is made.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Make a camera known. Its token is printed once, alone on stdout, and cannot be shown again.

    picofleet cameras register cam-001 --label site=berlin --label model=rev2
    """
    fields = {"controller_id": controller_id, "labels": pairs(label or [], "--label"), "format": format_, "token": token}
    made = client(ctx).fleet.cameras.register(checked(lambda: CameraIn.model_validate(fields), _HELP))
    _show_token(made, as_json)


@app.command("list")
def list_cameras(
    ctx: typer.Context,
    selector: Annotated[str | None, typer.Option("--selector", "-l", help="As site=berlin,model in (a, b),!old.")] = None,
    group: Annotated[str | None, typer.Option(help="Those of a group.", autocompletion=complete_group)] = None,
    package: Annotated[str | None, typer.Option(help="That run it.", autocompletion=complete_fleet_package)] = None,
    health: Annotated[HealthState | None, typer.Option(help="By their newest telemetry.")] = None,
    prefix: Annotated[str | None, typer.Option(help="That call themselves so, or begin so.")] = None,
    unseen: Annotated[str | None, typer.Option(metavar="TIME", help="Not heard of for so long, as 1h; or never.")] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List cameras, what they run, and when they were heard of last."""

    def row(found: CameraOut) -> list[str]:
        health = f"[{HEALTH_COLOURS[found.health]}]{found.health.value}[/]"
        cells = [escaped(found.controller_id), escaped(found.current_package or ""), health]
        return [*cells, age(found.last_seen) or "never", escaped(labels_in_words(found.labels)), found.id]

    filters: dict[str, Any] = {"selector": selector, "group": group, "package": package, "health": health, "prefix": prefix}
    unseen_s = None if unseen is None else seconds(unseen, "--unseen")
    found = client(ctx).fleet.cameras.list(**filters, unseen_s=unseen_s, limit=limit)
    empty = (
        "No cameras. Make one known: `picofleet cameras register NAME`, or let many in: `picofleet provisioning-tokens create`."
    )
    show_list(found, as_json, ["camera", "package", "health", "seen", "labels", "id"], row, empty)


@app.command("show")
def show(ctx: typer.Context, camera: CameraArgument, as_json: JsonFlag = False) -> None:
    """Show one camera: what it runs, how it is, and its parts in rollouts."""
    cameras = client(ctx).fleet.cameras
    found = cameras.named(camera)
    if as_json:
        print_json(found)
    else:
        show_camera(found, list(cameras.actions(found.id, limit=5)))


@app.command("actions")
def actions(ctx: typer.Context, camera: CameraArgument, limit: LimitOption = 20, as_json: JsonFlag = False) -> None:
    """List a camera's parts in rollouts, newest first."""

    def row(found: ActionOut) -> list[str]:
        cells = [str(found.id), found.kind.value, escaped(found.package or "none"), found.state.value]
        return [*cells, age(found.created_at), escaped(found.message)]

    cameras = client(ctx).fleet.cameras
    listed = cameras.actions(cameras.named(camera).id, limit=limit)
    show_list(listed, as_json, ["action", "kind", "package", "state", "age", ""], row, "It has had no part in a rollout.")


@app.command("label")
def label(
    ctx: typer.Context,
    camera: CameraArgument,
    changes: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="KEY- takes a label away.")],
    as_json: JsonFlag = False,
) -> None:
    """Set labels of a camera, and take some away; the others stay.

    picofleet cameras label cam-001 site=berlin env-
    """
    cameras = client(ctx).fleet.cameras
    found = cameras.named(camera)
    gone = {change[:-1] for change in changes if change.endswith("-") and "=" not in change}
    added = pairs([change for change in changes if change[:-1] not in gone], "Label")
    labels = {key: value for key, value in found.labels.items() if key not in gone} | added
    changed = cameras.change(found.id, checked(lambda: CameraChange(labels=labels), _HELP))
    if as_json:
        print_json(changed)
    else:
        out().print(escaped(f"{changed.controller_id}: {labels_in_words(changed.labels) or 'no labels'}"))


@app.command("token")
def token(ctx: typer.Context, camera: CameraArgument, yes: YesFlag = False, as_json: JsonFlag = False) -> None:
    """Exchange a camera's token. The new one is printed once; the one before counts no more."""
    cameras = client(ctx).fleet.cameras
    found = cameras.named(camera)
    confirm(f"Exchange the token of {found.controller_id}? The device cannot poll until it has the new one.", yes=yes)
    _show_token(cameras.new_token(found.id), as_json)


@app.command("replace")
def replace(
    ctx: typer.Context,
    camera: CameraArgument,
    successor: Annotated[
        str, typer.Option("--by", metavar="CAMERA", help="Registered already.", autocompletion=complete_camera)
    ],
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Let another device take a camera's place, with its labels and its part in rollouts.

    picofleet cameras replace cam-001 --by cam-001b
    """
    cameras = client(ctx).fleet.cameras
    old, new = cameras.named(camera), cameras.named(successor)
    if old.id == new.id:
        raise UsageError(f"{old.controller_id} cannot replace itself.", hint="Register the new device first.")
    confirm(f"Let {new.controller_id} replace {old.controller_id}?", yes=yes)
    changed = cameras.replace(old.id, new.id)
    if as_json:
        print_json(changed)
    else:
        err().print(escaped(f"{new.controller_id} is in the place of {old.controller_id}."))


@app.command("refresh")
def refresh(ctx: typer.Context, camera: CameraArgument) -> None:
    """Have a camera tell its attributes anew when it polls next."""
    cameras = client(ctx).fleet.cameras
    cameras.refresh_attributes(cameras.named(camera).id)
    err().print("It is asked for them at its next poll.")


@app.command("delete", hidden=True)
@app.command("rm")
def remove(ctx: typer.Context, camera: CameraArgument, yes: YesFlag = False) -> None:
    """Forget a camera. Its token counts no more; what it runs stays on it."""
    cameras = client(ctx).fleet.cameras
    found = cameras.named(camera)
    confirm(f"Forget {found.controller_id}?", yes=yes)
    cameras.delete(found.id)
    err().print("Removed.")


def _show_token(made: CameraCreated, as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    err().print(escaped(f"{made.controller_id} has id {made.id}. Keep its token: it is not shown again."))
    out().print(made.token, markup=False)
