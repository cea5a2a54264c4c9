"""What a job reads: manifests, dataset folders and prepared shards, from the cache or wherever they are.

Everything is a context manager: what a job has open is not evicted from the cache.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote, urlsplit

from shared.contracts.worker import DatasetGrant, ModelGrant, ShardSet
from shared.kit.mlflow_api import MlflowApi
from shared.picosam.data import archives
from shared.picosam.data.errors import DataError, DatasetGone
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy, prepare, shard_key
from workers.harness.context import JobContext
from workers.harness.progress import Meter

SHARED_LIMIT_BYTES: Final = 8 * 1024**3
"""Shards beyond this stay on the machine that prepared them: cutting them again is quicker than sending them."""


@contextmanager
def blob(ctx: JobContext, digest: str) -> Iterator[Path]:
    """The blob's file, downloaded if need be."""

    def fetch(path: Path) -> None:
        ctx.jobs.download_blob(digest, path, stop=ctx.stop_requested)

    with ctx.cache.blob(digest, fetch) as path:
        yield path


@contextmanager
def unpacked(ctx: JobContext, digest: str) -> Iterator[Path]:
    """The folder of an archive blob's files."""

    def unpack(folder: Path) -> None:
        with blob(ctx, digest) as archive:
            archives.unpack(archive, folder, stop=ctx.stop_requested)

    with ctx.cache.folder(f"archive-{digest.removeprefix('sha256:')}", unpack) as folder:
        yield folder


def model_file(ctx: JobContext, grant: ModelGrant, path: Path, name: str = "model.safetensors") -> None:
    """Download a file of a registered version's folder to ``path``. MlflowError if it is not there or MLflow is away."""
    with MlflowApi(ctx.mlflow_url) as api, api.download(grant.artifact_uri, name) as download, path.open("wb") as file:
        for chunk in download.chunks:
            ctx.raise_if_stopped()
            file.write(chunk)


def local_folder(root: str) -> Path:
    """An absolute path or file:// URL as a path. DatasetGone if there is no such folder here."""
    url = urlsplit(root)
    folder = Path(unquote(url.path)) if url.scheme == "file" else Path(root)
    if not folder.is_dir():
        hint = "Put the folder back, or make it visible to the worker under the same path, and retry the job."
        raise DatasetGone(f"the dataset's folder {folder} is not there on the worker's machine", hint=hint)
    return folder


@contextmanager
def dataset_root(ctx: JobContext, grant: DatasetGrant) -> Iterator[Path]:
    """Where the dataset's files are: its registered folder, or its archive unpacked."""
    if grant.archive is not None:
        with unpacked(ctx, grant.archive) as folder:
            yield folder
    elif grant.root is not None:
        yield local_folder(grant.root)
    else:
        raise DatasetGone(f"dataset {grant.name} has neither a folder nor an archive")


@contextmanager
def shards(ctx: JobContext, grant: DatasetGrant, split: str, policy: ShardPolicy) -> Iterator[ShardReader]:
    """The split's prepared windows: from the cache, else from another worker, else prepared here and shared."""
    key = shard_key(grant.digest, split, policy)

    def make(folder: Path) -> None:
        if (known := ctx.jobs.get_shards(key)) is not None:
            return download_files(ctx, known, folder)
        with blob(ctx, grant.manifest) as manifest, dataset_root(ctx, grant) as root:
            meter = Meter(ctx, "prepare", "window")
            prepare(manifest, root, split, policy, folder, digest=grant.digest, progress=meter, stop=ctx.stop_requested)
        share_files(ctx, key, grant.id, ShardReader(folder))

    with ExitStack() as stack:
        yield _opened(ctx, stack, key, make)


def _opened(ctx: JobContext, stack: ExitStack, key: str, make: Callable[[Path], None]) -> ShardReader:
    folder = stack.enter_context(ctx.cache.folder(key, make))
    try:
        return ShardReader(folder)
    except DataError as exc:
        ctx.log(f"prepared windows in the cache are damaged and made anew: {exc}", level="warning")
    stack.close()
    ctx.cache.drop_folder(key)
    return ShardReader(stack.enter_context(ctx.cache.folder(key, make)))


class Prepared(Protocol):
    """A folder that other workers may want: prepared windows, or a teacher's answers to them."""

    def __len__(self) -> int:
        """Rows."""

    def files(self) -> dict[str, Path]:
        """All files by name."""


def download_files(ctx: JobContext, known: ShardSet, folder: Path) -> None:
    """Make ``folder`` what another worker shared."""
    folder.mkdir(parents=True)
    meter = Meter(ctx, "fetch", "file")
    for number, (name, digest) in enumerate(known.files.items(), start=1):
        ctx.raise_if_stopped()
        ctx.jobs.download_blob(digest, folder / name, stop=ctx.stop_requested)
        meter(number, len(known.files))


def share_files(ctx: JobContext, key: str, dataset_id: str, reader: Prepared) -> None:
    """Offer a folder's files to all workers, unless they are too many."""
    files = reader.files()
    size_bytes = sum(path.stat().st_size for path in files.values())
    if size_bytes > SHARED_LIMIT_BYTES:
        ctx.log(f"{size_bytes / 1e9:.0f} GB stay on this machine: too much to share")
        return
    meter, digests = Meter(ctx, "upload", "file"), {}
    for number, (name, path) in enumerate(files.items(), start=1):
        ctx.raise_if_stopped()
        digests[name] = ctx.jobs.upload_blob(path, stop=ctx.stop_requested).digest
        meter(number, len(files))
    ctx.jobs.put_shards(ShardSet(key=key, dataset_id=dataset_id, files=digests, windows=len(reader), size_bytes=size_bytes))
