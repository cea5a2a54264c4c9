"""`picofleet datasets`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.status import Status

from shared.client import coco
from shared.client.cli.common import (
    Globals,
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
    show_fields,
    show_list,
    table,
)
from shared.client.cli.completion import complete_dataset
from shared.client.cli.transfer import Transfer
from shared.client.cli.watch import follow
from shared.client.fetch import RemoteFile, fetch
from shared.contracts.datasets import DatasetFormat, DatasetIn, DatasetOut, DatasetState

app = typer.Typer(no_args_is_help=True, help="Register images and masks, look at what was found in them.")

NameArgument = Annotated[str, typer.Argument(help="Name or id of the dataset.", autocompletion=complete_dataset)]
SplitsOption = Annotated[
    list[str] | None,
    typer.Option("--split", metavar="SPLIT=IMAGES:ANNOTATIONS", help="Relative to the root; may be repeated."),
]
COLOURS = {DatasetState.READY: "green", DatasetState.FAILED: "red", DatasetState.IMPORTING: "cyan"}


@app.command("register")
def register(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower case letters, digits, dot, underscore, hyphen.")],
    root: Annotated[Path | None, typer.Option(file_okay=False, help="Folder that service and worker see.")] = None,
    archive: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Zip or tar to upload.")] = None,
    generator: Annotated[bool, typer.Option("--generator", help="Make shapes with exact masks.")] = False,
    format_: Annotated[DatasetFormat, typer.Option("--format")] = DatasetFormat.COCO,
    split: SplitsOption = None,
    images: Annotated[int, typer.Option(help="With --generator: how many.")] = 400,
    seed: Annotated[int, typer.Option(help="With --generator, and for --fractions.")] = 0,
    fractions: Annotated[
        str | None, typer.Option(metavar="SPLIT=SHARE,...", help="Make splits by a hash of the image id, from the one --split.")
    ] = None,
    description: Annotated[str, typer.Option()] = "",
    wait: Annotated[bool, typer.Option(help="Wait for the import and show what was found.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Register a dataset: a folder, an archive, or the built-in generator.

    picofleet datasets register shapes --generator --images 400
    picofleet datasets register coco2017 --root /data/coco2017 --split train=train2017:annotations/instances_train2017.json
    picofleet datasets register mine --archive mine.zip --split all=images:instances.json --fractions train=0.8,val=0.2
    """
    if sum([root is not None, archive is not None, generator]) != 1:
        raise UsageError("Exactly one of --root, --archive and --generator says where the images come from.")
    body: dict[str, Any] = {"name": name, "description": description, "split_rule": _rule(fractions, split, seed)}
    if generator:
        body["source"] = {"kind": "generator", "images": images, "seed": seed}
    else:
        layout = {"format": format_, "splits": _splits(split)}
        if root is not None:
            body["source"] = {"kind": "folder", "root": str(root.expanduser().resolve()), **layout}
        else:
            placeholder = {"kind": "archive", "blob": "sha256:" + "0" * 64, **layout}
            checked(lambda: DatasetIn.model_validate(body | {"source": placeholder}))  # before hours of upload
            body["source"] = placeholder | {"blob": _upload(ctx, archive)}
    dataset = client(ctx).datasets.register(checked(lambda: DatasetIn.model_validate(body)))
    _registered(ctx, dataset, wait=wait, as_json=as_json)


@app.command("list")
def list_datasets(ctx: typer.Context, limit: LimitOption = 50, as_json: JsonFlag = False) -> None:
    """List datasets, newest first."""

    def row(dataset: DatasetOut) -> list[str]:
        splits = ", ".join(f"{split} {counts.images}/{counts.instances}" for split, counts in dataset.splits.items())
        left_out = str(sum(dataset.problems.values()) or "")
        state = f"[{COLOURS[dataset.state]}]{dataset.state.value}[/]"
        return [escaped(dataset.name), state, escaped(splits), left_out, age(dataset.created_at)]

    columns = ["name", "state", "images/masks", "left out", "age"]
    show_list(client(ctx).datasets.list(limit=limit), as_json, columns, row, "No datasets.")


@app.command("show")
def show(ctx: typer.Context, name: NameArgument, as_json: JsonFlag = False) -> None:
    """Show one dataset."""
    dataset = client(ctx).datasets.get(name)
    if as_json:
        print_json(dataset)
    else:
        _show(dataset)


@app.command("report")
def report(
    ctx: typer.Context,
    name: NameArgument,
    rows: Annotated[int, typer.Option(min=0, help="So many bad rows.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """Show what validation found: which rows were left out, and why."""
    found = client(ctx).datasets.report(name)
    if as_json:
        print_json(found)
        return
    counts = [[escaped(problem), str(number)] for problem, number in sorted(found.problems.items())]
    out().print(table(["left out", "rows"], counts) if counts else "Every row is good.")
    if found.warnings:
        out().print(table(["odd, but kept", "rows"], [[escaped(key), str(count)] for key, count in found.warnings.items()]))
    if found.bad_rows[:rows]:
        out().print(
            table(
                ["split", "problem", "image", "annotation", "detail"],
                [
                    [escaped(bad.split), bad.problem, bad.image_id or "", bad.annotation_id or "", escaped(bad.detail)]
                    for bad in found.bad_rows[:rows]
                ],
            )
        )


@app.command("rm")
def remove(ctx: typer.Context, name: NameArgument, yes: YesFlag = False) -> None:
    """Remove a dataset. Images registered in place stay where they are."""
    confirm(f"Remove dataset {name}?", yes=yes)
    client(ctx).datasets.delete(name)
    err().print("Removed.")


@app.command("upload")
def upload(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], as_json: JsonFlag = False
) -> None:
    """Upload an archive and print its digest; `register --archive` does both at once."""
    digest = _upload(ctx, file)
    if as_json:
        print_json({"digest": digest, "size_bytes": file.stat().st_size})
    else:
        out().print(digest)


@app.command("fetch")
def fetch_dataset(
    ctx: typer.Context,
    what: Annotated[str, typer.Argument(help="coco-val2017")],
    to: Annotated[Path | None, typer.Option(file_okay=False, help="Folder; default: datasets in the platform's home.")] = None,
    base_url: Annotated[str, typer.Option(help="A mirror with the same paths.")] = coco.BASE_URL,
    any_content: Annotated[
        bool,
        typer.Option("--any-content", help="Accept other bytes than the official ones: a mirror with a part of the images."),
    ] = False,
    register_as: Annotated[str | None, typer.Option("--register", metavar="NAME", help="Register it afterwards.")] = None,
) -> None:
    """Fetch official files: 1.1 GB, resumed where it broke off, digests checked.

    picofleet datasets fetch coco-val2017
    picofleet datasets fetch coco-val2017 --to /data --register coco-val2017
    """
    if what != coco.ROOT_NAME:
        raise UsageError(f"{what!r} is not known.", hint=f"Known: {coco.ROOT_NAME}.")
    options: Globals = ctx.obj
    folder = (to or options.home / "datasets").expanduser().resolve()
    local = []
    for file in (coco.IMAGES, coco.ANNOTATIONS):
        wanted = RemoteFile(file.path) if any_content else file
        with Transfer(file.name) as bar:
            local.append(fetch(base_url, wanted, folder / "downloads", on_progress=bar.update))
        err().print(f"{file.name}: complete, digest checked")
    root = folder / coco.ROOT_NAME
    with Status("unpacking", console=err()):
        coco.unpack(local[0], local[1], root)
    out().print(str(root), markup=False)
    if register_as is not None:
        dataset = client(ctx).datasets.register(checked(lambda: coco.registration(root, register_as)))
        _registered(ctx, dataset, wait=True, as_json=False)
    else:
        err().print(
            f"Register it: picofleet datasets register {coco.ROOT_NAME} --root {root} "
            f"--split all={coco.IMAGE_FOLDER}:{coco.ANNOTATION_FILE} --fractions train=0.8,val=0.2",
            markup=False,
        )


def _registered(ctx: typer.Context, dataset: DatasetOut, *, wait: bool, as_json: bool) -> None:
    if wait:
        if dataset.import_job is not None and not as_json:
            follow(client(ctx), dataset.import_job)
        dataset = client(ctx).datasets.wait_ready(dataset.id)
    if as_json:
        print_json(dataset)
    else:
        _show(dataset)


def _show(dataset: DatasetOut) -> None:
    splits = [
        f"{split}: {counts.images} images, {counts.instances} masks, {counts.crowd} crowd"
        for split, counts in dataset.splits.items()
    ]
    problems = [f"{count} {problem}" for problem, count in dataset.problems.items()]
    show_fields(
        [
            ("dataset", dataset.name),
            ("id", dataset.id),
            ("state", dataset.state.value),
            ("about", dataset.description),
            ("source", dataset.source.model_dump(mode="json", exclude={"splits"})),
            ("digest", dataset.digest),
            ("splits", "\n".join(splits)),
            ("left out", ", ".join(problems)),
            ("error", dataset.error),
            ("import job", dataset.import_job),
        ]
    )


def _upload(ctx: typer.Context, file: Path | None) -> str:
    if file is None:
        raise UsageError("--archive is missing.")
    with Transfer(file.name) as bar:
        return client(ctx).blobs.upload(file, on_progress=bar.update).digest


def _splits(values: list[str] | None) -> list[dict[str, str]]:
    if not values:
        raise UsageError("--split is missing.", hint="As in --split train=train2017:annotations/instances_train2017.json.")
    found = []
    for split, paths in pairs(values, "--split").items():
        images, colon, annotations = paths.partition(":")
        if not colon:
            raise UsageError(f"--split {split}={paths} is not written SPLIT=IMAGES:ANNOTATIONS.")
        found.append({"split": split, "images": images, "annotations": annotations})
    return found


def _rule(fractions: str | None, splits: list[str] | None, seed: int) -> dict[str, Any] | None:
    if fractions is None:
        return None
    try:
        shares = {split: float(share) for split, share in pairs(fractions.split(","), "--fractions").items()}
    except ValueError as exc:
        raise UsageError(f"--fractions {fractions}: a share is no number.", hint="As in train=0.8,val=0.2.") from exc
    names = [value.partition("=")[0] for value in splits or []]
    if len(names) > 1:
        raise UsageError("--fractions needs exactly one --split to divide.")
    return {"from_split": names[0] if names else "all", "seed": seed, "fractions": shares}
