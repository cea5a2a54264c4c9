"""`picofleet teachers`: the published checkpoints that distillation learns from."""

from pathlib import Path
from typing import Annotated, Final

import typer

from shared.client.cli.common import Globals, JsonFlag, UsageError, client, err, escaped, out, print_json, show_list
from shared.client.cli.transfer import Transfer
from shared.client.errors import Unusable
from shared.client.fetch import RemoteFile, fetch
from shared.client.files import file_digest
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, PublishedCheckpoint, TeacherOut

app = typer.Typer(no_args_is_help=True, help="SAM 2.1's published weights. Any registered model can teach too.")

_BY_NAME: Final = {published.name: published for published in PUBLISHED_CHECKPOINTS.values()}


def complete_teacher(incomplete: str) -> list[str]:
    """Names of published teachers."""
    return [name for name in _BY_NAME if name.startswith(incomplete)]


@app.command("list")
def list_teachers(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """List the published checkpoints, and which of them the platform has."""

    def row(teacher: TeacherOut) -> list[str]:
        size = f"{teacher.size_bytes / 1e6:.0f} MB" if teacher.size_bytes else ""
        present = "[green]here[/green]" if teacher.present else f"picofleet teachers fetch {escaped(teacher.name)}"
        return [escaped(teacher.name), size, present, escaped(teacher.url)]

    show_list(client(ctx).teachers.list(), as_json, ["teacher", "size", "", "published at"], row, "No teachers.")


@app.command("fetch")
def fetch_teacher(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help=", ".join(_BY_NAME), autocompletion=complete_teacher)],
    file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The same file, downloaded before or elsewhere.")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="A mirror's folder with the same file name.")] = None,
    to: Annotated[
        Path | None, typer.Option(file_okay=False, help="Keep the download in this folder; default: only on the platform.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Bring a published checkpoint onto the platform. Resumed where it broke off; its digest is checked.

    picofleet teachers fetch sam2.1-tiny
    picofleet teachers fetch sam2.1-tiny --file sam2.1_hiera_tiny.pt
    """
    published = _BY_NAME.get(name)
    if published is None:
        raise UsageError(f"{name!r} is not known.", hint=f"Known: {', '.join(_BY_NAME)}.")
    if client(ctx).blobs.exists(published.digest):
        err().print(f"{name} is on the platform already.")
    elif file is not None:
        _require_same(file, published)
        _upload(ctx, file)
    else:
        _bring(ctx, published, base_url, to)
    if as_json:
        print_json({"name": name, "digest": published.digest})
    else:
        out().print(published.digest)


def _bring(ctx: typer.Context, published: PublishedCheckpoint, base_url: str | None, to: Path | None) -> None:
    """Download and upload. Without ``to`` only a broken-off download stays on this side."""
    options: Globals = ctx.obj
    folder = (to or options.home / "downloads").expanduser().resolve()
    url, _, path = published.url.rpartition("/")
    remote = RemoteFile(path, sha256=published.digest.removeprefix("sha256:"), size_bytes=published.size_bytes)
    with Transfer(remote.name) as bar:
        local = fetch(base_url or url, remote, folder, on_progress=bar.update)
    err().print(f"{remote.name}: complete, digest checked")
    _upload(ctx, local)
    if to is None:
        local.unlink()
        local.with_name(f"{local.name}.lock.json").unlink(missing_ok=True)


def _require_same(file: Path, published: PublishedCheckpoint) -> None:
    found = file_digest(file)
    if found != published.digest:
        raise Unusable(
            f"{file} is not the published {published.name}: its digest is {found}, not {published.digest}.",
            hint="Weights of another make are given to the job: `picofleet jobs submit distillation --checkpoint FILE`.",
        )


def _upload(ctx: typer.Context, file: Path) -> None:
    with Transfer(file.name) as bar:
        client(ctx).blobs.upload(file, on_progress=bar.update)
