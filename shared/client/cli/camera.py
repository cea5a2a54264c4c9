"""`picofleet camera`: the agent on this machine. What runs it is imported only when it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.client.cli.common import JsonFlag, UsageError, escaped, out, print_json, table

if TYPE_CHECKING:
    from services.camera.settings import CameraSettings

app = typer.Typer(no_args_is_help=True, help="The agent that makes this machine a camera of the fleet.")

UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="PICOFLEET_CAMERA_URL", help="Fleet service, or any server that speaks hawkBit's DDI."),
]
IdOption = Annotated[str | None, typer.Option(envvar="PICOFLEET_CAMERA_CONTROLLER_ID", help="What the camera calls itself.")]
TokenOption = Annotated[
    Path | None,
    typer.Option(envvar="PICOFLEET_CAMERA_TOKEN_FILE", help="File with its token, as `picofleet cameras register` prints it."),
]
DriverOption = Annotated[
    str | None, typer.Option(envvar="PICOFLEET_CAMERA_DRIVER", help="imx500, or simulated for a machine without the sensor.")
]
ImagesOption = Annotated[
    Path | None, typer.Option(envvar="PICOFLEET_CAMERA_IMAGES", help="Pictures that a simulated sensor looks at.")
]
KeysOption = Annotated[
    Path | None, typer.Option(envvar="PICOFLEET_CAMERA_KEYS_FILE", help="Key list: whose packages are installed.")
]
FolderOption = Annotated[
    Path | None, typer.Option(envvar="PICOFLEET_CAMERA_FOLDER", help="For packages and state; each camera needs its own.")
]


@app.command("run")
def run(
    url: UrlOption = None,
    controller_id: IdOption = None,
    token_file: TokenOption = None,
    driver: DriverOption = None,
    images: ImagesOption = None,
    keys: KeysOption = None,
    folder: FolderOption = None,
    fault: Annotated[str | None, typer.Option(help="Simulated: what goes wrong, as stall, drift or missing.")] = None,
    fault_package: Annotated[
        list[str] | None, typer.Option(metavar="LINE/RELEASE", help="Simulated: with this package alone. May be repeated.")
    ] = None,
    logs_as_json: Annotated[bool, typer.Option("--json-logs", help="One JSON object per line.")] = False,
) -> None:
    """Run the agent here until it is stopped. Other settings: PICOFLEET_CAMERA_*, see docs/camera.md.

    picofleet camera run --driver simulated --images val2017 --url http://127.0.0.1:8004 --controller-id cam-1
        --token-file cam-1.token --keys keys.json --folder cam-1
    """
    from services.camera.__main__ import run as run_agent
    from shared.kit.logging import configure_logging

    told: dict[str, Any] = {"fault": fault, "fault_packages": frozenset(fault_package or []) or None}
    settings = _settings(url, controller_id, token_file, driver, images, keys, folder, **told)
    configure_logging(json=logs_as_json, level=settings.log_level)
    code = run_agent(settings)
    if code:
        raise typer.Exit(code)


@app.command("doctor")
def doctor(
    url: UrlOption = None,
    controller_id: IdOption = None,
    token_file: TokenOption = None,
    driver: DriverOption = None,
    images: ImagesOption = None,
    keys: KeysOption = None,
    folder: FolderOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Look whether this machine has what the agent needs; changes nothing. Exit code 1 if something is missing."""
    from services.camera.doctor import examine

    found = examine(_settings(url, controller_id, token_file, driver, images, keys, folder))
    if as_json:
        print_json([{"name": each.name, "good": each.is_good, "detail": each.detail, "hint": each.hint} for each in found])
    else:
        marks = {True: "[green]ok[/green]", None: "[yellow]look[/yellow]", False: "[red]missing[/red]"}
        rows = [[each.name, marks[each.is_good], escaped(each.detail), escaped(each.hint)] for each in found]
        out().print(table(["what", "state", "", "what to do"], rows))
    if any(each.is_good is False for each in found):
        raise typer.Exit(1)


def _settings(
    url: str | None,
    controller_id: str | None,
    token_file: Path | None,
    driver: str | None,
    images: Path | None,
    keys: Path | None,
    folder: Path | None,
    **more: Any,
) -> "CameraSettings":
    """From the environment and what was given. UsageError names the option."""
    from pydantic import ValidationError

    from services.camera.settings import CameraSettings

    told: dict[str, Any] = {
        "url": url,
        "controller_id": controller_id,
        "token_file": token_file,
        "driver": driver,
        "images": images,
    }
    told |= {"keys_file": keys, "folder": folder} | more
    try:
        return CameraSettings(**{name: value for name, value in told.items() if value is not None})
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        name = "--" + "-".join(str(part) for part in error["loc"]).replace("_", "-") if error["loc"] else "Options"
        raise UsageError(f"{name}: {error['msg']}", hint="See `picofleet camera run --help`.") from exc
