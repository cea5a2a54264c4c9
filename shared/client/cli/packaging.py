"""`picofleet package create`, which is `picofleet jobs submit packaging`, and the packages that the platform keeps."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from shared.client.cli import package
from shared.client.cli.cache import size
from shared.client.cli.common import JsonFlag, LimitOption, TagOption, UsageError, age, client, err, escaped, out, show_list
from shared.client.cli.completion import complete_model, complete_package, complete_split
from shared.client.cli.submit import (
    NameOption,
    NoRegisterFlag,
    SetOption,
    SpecOption,
    WatchFlag,
    draft,
    queued,
    require,
    selection,
    submission,
)
from shared.client.cli.transfer import Transfer
from shared.client.sdk import PicofleetClient
from shared.contracts.jobs import PackagingSubmission
from shared.contracts.packaging import PackageOut

ModelArgument = Annotated[
    str | None,
    typer.Argument(metavar="NAME/VERSION", help="Quantized for the imx500; NAME@ALIAS too.", autocompletion=complete_model),
]
GoldenOption = Annotated[
    str | None,
    typer.Option(metavar="DATASET/SPLIT", help="Held out images: a camera tries them.", autocompletion=complete_split),
]
NEWEST: Final = "LINE or LINE/RELEASE, as picosam2 (the newest) or picosam2/7."


@package.app.command("create")
def create(
    ctx: typer.Context,
    model: ModelArgument = None,
    golden: GoldenOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only see whether it fits the sensor.")] = False,
    input_persistency: Annotated[
        bool | None, typer.Option("--input-persistency/--no-input-persistency", help="The camera can read the input, too.")
    ] = None,
    input_format: Annotated[Literal["RGB", "BGR"] | None, typer.Option(help="Order of the network's channels.")] = None,
    max_memory_utilization: Annotated[
        float | None, typer.Option(help="A network that takes a larger share of the sensor's memory fails the job.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option(help="What the answers stand for; may be repeated.")] = None,
    notes: Annotated[str | None, typer.Option(help="For the model card: what it is meant for.")] = None,
    line: Annotated[str | None, typer.Option(help="What releases are counted under; default: the float model's name.")] = None,
    register_as: Annotated[str | None, typer.Option(help="Name in the model registry; default: picosam2.package.")] = None,
    no_register: NoRegisterFlag = False,
    name: NameOption = None,
    tag: TagOption = None,
    set_: SetOption = None,
    spec: SpecOption = None,
    watch: WatchFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Convert a quantized version for the sensor and make a signed package of it. Needs `picofleet toolchain install`.

    picofleet package create picosam2.imx500/1 --golden coco2017/val --watch
    picofleet package create picosam2.imx500/1 --dry-run --watch
    """
    fields: dict[str, Any] = {
        "name": name,
        "model": model,
        "dry_run": dry_run or None,
        "golden.dataset": selection(golden) if golden else None,
        "input_persistency": input_persistency,
        "input_format": input_format,
        "max_memory_utilization": max_memory_utilization,
        "labels": label,
        "notes": notes,
        "line": line,
        "register_as": register_as,
    }
    wanted = draft(spec, fields, tag, set_, no_register=no_register)
    require(wanted, {"model": "picosam2.imx500/1"})
    if not wanted.get("dry_run"):
        require(wanted, {"golden": "--golden coco2017/val"})
    body = submission(PackagingSubmission, wanted)
    queued(ctx, client(ctx).jobs.submit_packaging(body), watch=watch, as_json=as_json)


@package.app.command("list")
def list_packages(
    ctx: typer.Context,
    line: Annotated[str | None, typer.Argument(help="Only this model line, as picosam2.")] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List the signed packages that the platform keeps."""
    show_list(
        client(ctx).packages.list(line=line, limit=limit),
        as_json,
        ["package", "made from", "registered as", "size", "rpk", "key", "age"],
        lambda each: [
            f"{escaped(each.line)}/{each.release}",
            f"{escaped(each.model)}/{each.version}",
            escaped(each.registered_as or ""),
            size(each.size_bytes),
            each.rpk.value,
            each.key,
            age(each.created_at),
        ],
        "No packages.",
    )


@package.app.command("download")
def download(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="LINE[/RELEASE]", help=NEWEST, autocompletion=complete_package)],
    output: Annotated[Path | None, typer.Option("--output", "-o", dir_okay=False, help="Default: LINE-RELEASE.tar.")] = None,
) -> None:
    """Save a signed package as a tar, and verify it against the platform's public keys.

    picofleet package download picosam2/7
    """
    platform = client(ctx)
    found = package_of(platform, name)
    target = output or Path(f"{found.line}-{found.release}.tar")
    with Transfer(target.name) as bar:
        platform.packages.download(found, target, on_progress=bar.update)
    with package.told():
        from shared.kit.packages.verifying import verify

        verified = verify(target, platform.packages.keys())
    err().print(
        f"Verified: release {verified.manifest.release} of {escaped(verified.manifest.line)}, by key {verified.key_id}."
    )
    out().print(str(target), markup=False)


def package_of(platform: PicofleetClient, name: str) -> PackageOut:
    """The package that ``line`` (the newest) or ``line/7`` names. UsageError, ProblemError."""
    line, slash, number = name.partition("/")
    if not line or (slash and not number.isdecimal()):
        raise UsageError(f"{name!r} names no package.", hint=NEWEST)
    return platform.packages.get(line, int(number) if slash else None)
