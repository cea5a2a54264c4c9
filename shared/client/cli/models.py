"""`picofleet models`."""

from pathlib import Path
from typing import Annotated

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
from shared.client.cli.completion import complete_model
from shared.client.cli.job_view import require_success
from shared.client.cli.lineage import lineage_tree
from shared.client.cli.transfer import Transfer
from shared.client.cli.watch import follow
from shared.contracts.imports import WeightsFormat
from shared.contracts.jobs import ModelImportSubmission
from shared.contracts.models import VersionOut

app = typer.Typer(no_args_is_help=True, help="The model registry.")

VersionArgument = Annotated[
    str, typer.Argument(metavar="NAME/VERSION", help="As picosam2/3, or picosam2@champion.", autocompletion=complete_model)
]


@app.command("list")
def list_models(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="List this model's versions.", autocompletion=complete_model)] = None,
    limit: LimitOption = 50,
    as_json: JsonFlag = False,
) -> None:
    """List models, or the versions of one."""
    models = client(ctx).models
    if name is None:
        columns = ["model", "newest", "aliases", "changed"]
        show_list(
            models.list(limit=limit),
            as_json,
            columns,
            lambda model: [
                escaped(model.name),
                str(model.latest_version or ""),
                escaped(", ".join(f"{alias}={version}" for alias, version in model.aliases.items())),
                age(model.updated_at),
            ],
            "No models.",
        )
        return
    show_list(
        models.versions(name, limit=limit),
        as_json,
        ["version", "aliases", "figures", "job", "age"],
        lambda version: [
            f"{escaped(version.name)}/{version.version}",
            escaped(", ".join(version.aliases)),
            _figures(version),
            version.job_id or "",
            age(version.created_at),
        ],
        "No versions.",
    )


@app.command("show")
def show_model(ctx: typer.Context, version: VersionArgument, as_json: JsonFlag = False) -> None:
    """Show one version: figures, files, and what it came from."""
    name, number = _resolve(ctx, version)
    found = client(ctx).models.version(name, number)
    if as_json:
        print_json(found)
        return
    show_fields(
        [
            ("model", f"{found.name}/{found.version}"),
            ("aliases", ", ".join(found.aliases)),
            ("about", found.description),
            ("figures", _figures(found)),
            ("made from", ", ".join(found.parents)),
            ("job", found.job_id),
            ("run", found.run_id),
            ("files", "\n".join(found.artifacts)),
            ("tags", "\n".join(f"{key}={value}" for key, value in sorted(found.tags.items()))),
        ]
    )


@app.command("lineage")
def lineage(ctx: typer.Context, version: VersionArgument, as_json: JsonFlag = False) -> None:
    """Show what a version was made from, back to the data and the teacher, and what was made from it.

    picofleet models lineage picosam2@champion
    """
    name, number = _resolve(ctx, version)
    found = client(ctx).models.lineage(name, number)
    if as_json:
        print_json(found)
    else:
        out().print(lineage_tree(found))


@app.command("promote")
def promote(
    ctx: typer.Context,
    version: VersionArgument,
    alias: Annotated[str, typer.Argument(help="As champion or candidate.")] = "champion",
) -> None:
    """Let an alias name this version from now on."""
    name, number = _resolve(ctx, version)
    client(ctx).models.promote(name, number, alias)
    err().print(f"{name}@{alias} is version {number} now.")


@app.command("download")
def download(
    ctx: typer.Context,
    version: VersionArgument,
    file: Annotated[str | None, typer.Argument(help="One file; default: all.")] = None,
    to: Annotated[Path, typer.Option(file_okay=False, help="Folder.")] = Path(),
) -> None:
    """Save a version's files: weights as safetensors and ONNX, and how they were made.

    picofleet models download picosam2@champion model.onnx --to models
    """
    name, number = _resolve(ctx, version)
    models = client(ctx).models
    present = models.version(name, number).artifacts
    if file is not None and file not in present:
        raise UsageError(f"{name}/{number} has no file {file!r}.", hint=f"It has: {', '.join(present)}.")
    for artifact in [file] if file else present:
        target = to / Path(artifact)
        if not target.resolve().is_relative_to(to.resolve()):
            raise UsageError(f"The registry names a file outside of {to}: {artifact!r}.")
        with Transfer(artifact) as on_progress:
            models.download(name, number, artifact, target, on_progress=on_progress.update)
        out().print(str(target), markup=False)


@app.command("import")
def import_model(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Weights.")],
    format_: Annotated[WeightsFormat | None, typer.Option("--format", help="Default: by the file's ending.")] = None,
    input_scale: Annotated[
        str, typer.Option(help="What the network expects: pixel/256, or imagenet (the published PicoSAM2 and PicoSAM3).")
    ] = "pixel/256",
    architecture: Annotated[str, typer.Option(help="picosam2, picosam3 or picosam2_wide.")] = "picosam2",
    register_as: Annotated[str | None, typer.Option(help="Name in the registry; default: the architecture's.")] = None,
    description: Annotated[str, typer.Option()] = "",
    as_json: JsonFlag = False,
) -> None:
    """Bring existing weights into the registry: safetensors, ONNX, or a PyTorch state dict.

    picofleet models import PicoSAM2_student.pt --input-scale imagenet
    """
    endings = {".safetensors": "safetensors", ".onnx": "onnx", ".pt": "state_dict", ".pth": "state_dict"}
    kind = format_.value if format_ else endings.get(file.suffix.lower())
    if kind is None:
        raise UsageError(f"The ending of {file.name} does not tell its format.", hint="Add --format.")
    fields = {"format": kind, "input_scale": input_scale, "architecture": architecture, "description": description}
    if register_as is not None:
        fields["register_as"] = register_as
    nobody = "sha256:" + "0" * 64  # the options are checked before anything is sent
    checked(lambda: ModelImportSubmission.model_validate(fields | {"blob": nobody}))
    with Transfer(file.name) as on_progress:
        blob = client(ctx).blobs.upload(file, on_progress=on_progress.update)
    job = client(ctx).models.import_weights(ModelImportSubmission.model_validate(fields | {"blob": blob.digest}))
    done = require_success(follow(client(ctx), job.id))
    if as_json:
        print_json(done)
    else:
        made = [f"{model.registered_model}/{model.version or 'pending'}" for model in done.outputs if model.registered_model]
        out().print(f"Imported: {', '.join(made) or 'registration is pending'}")


@app.command("rm")
def remove(ctx: typer.Context, version: VersionArgument, yes: YesFlag = False) -> None:
    """Remove a version. Refused, with names, while something depends on it."""
    name, number = _resolve(ctx, version)
    confirm(f"Remove {name}/{number} for ever?", yes=yes)
    client(ctx).models.delete(name, number)
    err().print("Removed.")


def _resolve(ctx: typer.Context, text: str) -> tuple[str, int]:
    """Name and number of ``name/3`` or ``name@alias``."""
    name, slash, number = text.partition("/")
    if slash and number.isdecimal():
        return name, int(number)
    name, at, alias = text.partition("@")
    if at and alias:
        aliases = client(ctx).models.get(name).aliases
        if alias in aliases:
            return name, aliases[alias]
        raise UsageError(f"{name} has no alias {alias!r}.", hint=f"It has: {', '.join(aliases) or 'none'}.")
    raise UsageError(f"{text!r} names no version.", hint="As picosam2/3, or picosam2@champion.")


def _figures(version: VersionOut) -> str:
    return "  ".join(f"{key} {version.metrics[key]:.3f}" for key in ("miou_96", "miou_96_pad") if key in version.metrics)
