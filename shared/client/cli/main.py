"""The `picofleet` command."""

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from shared.client.cli import (
    admin,
    cache,
    camera,
    cameras,
    datasets,
    demo,
    deployments,
    evaluate,
    fleet_packages,
    groups,
    jobs,
    models,
    package,
    packaging,
    pipelines,
    platform,
    provisioning,
    quantize,
    rollouts,
    segment,
    simulate,
    submit,
    sweeps,
    teachers,
    toolchain,
)
from shared.client.cli.common import Globals
from shared.client.cli.failures import EXIT_CODES, report
from shared.client.config import default_home

app = typer.Typer(
    name="picofleet",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
app.command(rich_help_panel="Platform")(platform.up)
app.command(rich_help_panel="Platform")(platform.down)
app.command(rich_help_panel="Platform")(platform.status)
app.command(rich_help_panel="Platform")(demo.demo)
app.add_typer(datasets.app, name="datasets", rich_help_panel="Work")
app.add_typer(jobs.app, name="jobs", rich_help_panel="Work")
app.add_typer(pipelines.app, name="pipelines", rich_help_panel="Work")
app.add_typer(sweeps.app, name="sweeps", rich_help_panel="Work")
app.add_typer(models.app, name="models", rich_help_panel="Work")
app.add_typer(teachers.app, name="teachers", rich_help_panel="Work")
app.command(rich_help_panel="Work")(quantize.quantize)
submit.app.command("quantization")(quantize.quantize)
submit.app.command("packaging")(packaging.create)
app.command(rich_help_panel="Work")(evaluate.evaluate)
app.add_typer(package.app, name="package", rich_help_panel="Work")
app.command(rich_help_panel="Serving")(segment.segment)
app.add_typer(deployments.app, name="deployments", rich_help_panel="Serving")
app.add_typer(cameras.app, name="cameras", rich_help_panel="Fleet")
cameras.app.command("simulate")(simulate.simulate)
app.add_typer(groups.app, name="groups", rich_help_panel="Fleet")
app.add_typer(provisioning.app, name="provisioning-tokens", rich_help_panel="Fleet")
app.add_typer(fleet_packages.app, name="fleet-packages", rich_help_panel="Fleet")
app.add_typer(rollouts.app, name="rollouts", rich_help_panel="Fleet")
app.add_typer(camera.app, name="camera", rich_help_panel="Fleet")
app.command(rich_help_panel="Administration")(admin.workers)
app.add_typer(cache.app, name="cache", rich_help_panel="Administration")
app.add_typer(toolchain.app, name="toolchain", rich_help_panel="Administration")
app.add_typer(admin.keys, name="keys", rich_help_panel="Administration")


def _version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"picofleet {version('picofleet')}")
        except PackageNotFoundError:
            typer.echo("picofleet (not installed, run from its sources)")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(envvar="PICOFLEET_URL", help="Jobs service; default: the embedded platform's.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="PICOFLEET_API_KEY", help="Key; default for the embedded platform: its admin key.")
    ] = None,
    inference_url: Annotated[
        str | None,
        typer.Option(
            envvar="PICOFLEET_INFERENCE_URL",
            help="Inference service; default: the embedded platform's, else as --url.",
        ),
    ] = None,
    fleet_url: Annotated[
        str | None,
        typer.Option(envvar="PICOFLEET_FLEET_URL", help="Fleet service; default: the embedded platform's, else as --url."),
    ] = None,
    home: Annotated[
        Path | None, typer.Option(envvar="PICOFLEET_HOME", help="Folder of the embedded platform; default: ~/.picofleet.")
    ] = None,
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Picofleet: from a dataset to segmentation inside a camera's image sensor.

    [bold]Start here[/bold]
      picofleet demo                                  train, distil, evaluate and quantize on this machine
      picofleet up                                    start the platform, then:
      picofleet datasets register shapes --generator
      picofleet jobs submit training --train shapes/train --validation shapes/val --watch
    """
    ctx.obj = Globals(home or default_home(), url, api_key, inference_url, fleet_url)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        app(given, prog_name="picofleet")
    except Exception as exc:  # the last resort: users see no stack trace
        sys.exit(report(exc, as_json="--json" in given))
    sys.exit(0)


if __name__ == "__main__":
    main()
