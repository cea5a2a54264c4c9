"""`picofleet fleet-packages`: packages that the fleet service can roll out. `picofleet package` makes and inspects them."""

from typing import Annotated

import typer

from shared.client.cli.cache import size
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
    table,
)
from shared.client.cli.completion import complete_fleet_package, complete_package
from shared.contracts.rollouts import FleetPackageOut, PackageImport

app = typer.Typer(no_args_is_help=True, help="Packages that can be rolled out; `picofleet package` makes and inspects them.")

RefArgument = Annotated[
    str, typer.Argument(metavar="LINE/RELEASE", help="As picosam2/3.", autocompletion=complete_fleet_package)
]
_HELP = "As `picofleet fleet-packages import picosam2/3`, or --job, or --model."


@app.command("import")
def import_package(
    ctx: typer.Context,
    package: Annotated[
        str | None, typer.Argument(metavar="LINE/RELEASE", help="As picosam2/3.", autocompletion=complete_package)
    ] = None,
    job: Annotated[str | None, typer.Option(help="Instead: id of the packaging job that made it.")] = None,
    model: Annotated[str | None, typer.Option(help="Instead: the model version that was packaged, as picosam2/2.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring a signed package from the jobs service to the fleet service, which verifies it.

    picofleet fleet-packages import picosam2/3
    """
    body = checked(lambda: PackageImport.model_validate({"package": package, "job": job, "model": model}), _HELP)
    made = client(ctx).fleet.packages.import_(body)
    if as_json:
        print_json(made)
    else:
        out().print(escaped(made.ref))
        err().print(escaped(f"Verified. Roll it out: `picofleet rollouts create {made.ref} --group GROUP`."))


@app.command("list")
def list_packages(ctx: typer.Context, limit: LimitOption = 50, as_json: JsonFlag = False) -> None:
    """List packages that can be rolled out."""

    def row(found: FleetPackageOut) -> list[str]:
        cells = [escaped(found.ref), found.kind.value, escaped(found.model or ""), size(_bytes(found))]
        return [*cells, age(found.imported_at), escaped(found.imported_by)]

    empty = (
        "No packages. Bring one: `picofleet fleet-packages import LINE/RELEASE`; `picofleet package list` shows what there is."
    )
    columns = ["package", "kind", "model", "size", "age", "by"]
    show_list(client(ctx).fleet.packages.list(limit=limit), as_json, columns, row, empty)


@app.command("show")
def show(ctx: typer.Context, ref: RefArgument, as_json: JsonFlag = False) -> None:
    """Show one package and the files that cameras download."""
    found = client(ctx).fleet.packages.get(_ref(ref))
    if as_json:
        print_json(found)
        return
    show_fields(
        [
            ("package", found.ref),
            ("id", found.id),
            ("kind", found.kind.value),
            ("model", found.model),
            ("digest", found.digest),
            ("signed by", found.key_id),
            ("imported", f"{age(found.imported_at)} ago by {found.imported_by}"),
            ("deleted", f"{age(found.deleted_at)} ago" if found.deleted_at else ""),
        ]
    )
    rows = [[escaped(file.filename), file.format, size(file.size_bytes), file.sha256] for file in found.files]
    out().print()
    out().print(table(["file", "for", "size", "sha256"], rows))


@app.command("delete", hidden=True)
@app.command("rm")
def remove(
    ctx: typer.Context,
    ref: RefArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Also if rollouts or cameras need it: they fail for want of it.")
    ] = False,
    yes: YesFlag = False,
) -> None:
    """Remove a package from the fleet service. The jobs service keeps it."""
    confirm(f"Remove {ref} from the fleet service?", yes=yes)
    client(ctx).fleet.packages.delete(_ref(ref), force=force)
    err().print("Removed.")


def _ref(text: str) -> str:
    line, slash, release = text.partition("/")
    if not (line and slash and release):
        raise UsageError(f"{text!r} is no package.", hint="As picosam2/3; `picofleet fleet-packages list` has them.")
    return text


def _bytes(found: FleetPackageOut) -> int:
    return sum(file.size_bytes for file in found.files)
