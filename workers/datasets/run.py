"""The import job: find or make the files, judge every row, and leave manifest and report as blobs."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.contracts.datasets import ArchiveSource, FolderSource, GeneratorSource
from shared.contracts.imports import DatasetImportSpec
from shared.contracts.worker import ImportedDataset
from shared.picosam.data.generator import generate
from shared.picosam.data.importer import Imported, import_dataset
from workers.harness import inputs
from workers.harness.context import Finished, JobContext
from workers.harness.progress import Meter


def run(ctx: JobContext, spec: DatasetImportSpec) -> Finished:
    """Import one dataset; the service makes it ready when it accepts the result."""
    with _root(ctx, spec.source) as (root, archive):
        meter = Meter(ctx, "import", "image")
        imported = import_dataset(
            root, spec.source, spec.split_rule, spec.name, ctx.folder, progress=meter, stop=ctx.stop_requested
        )
    report = imported.report
    for split, counts in report.splits.items():
        ctx.log(f"split {split}: {counts.images} images, {counts.instances} instances, {counts.crowd} crowds")
    for problem, count in sorted(report.problems.items()):
        ctx.log(f"left out: {count} rows with {problem}", level="warning")
    return Finished(result=_result(imported), dataset=_uploaded(ctx, imported, archive))


def _result(imported: Imported) -> dict[str, object]:
    report = imported.report
    splits = {name: counts.model_dump() for name, counts in report.splits.items()}
    return {"digest": imported.digest, "splits": splits, "problems": report.problems, "warnings": report.warnings}


def _uploaded(ctx: JobContext, imported: Imported, archive: Path | None) -> ImportedDataset:
    report = ctx.folder / "report.json"
    report.write_text(imported.report.model_dump_json())
    files = [imported.manifest_path, report, *([archive] if archive else [])]
    meter, digests = Meter(ctx, "upload", "file"), []
    for number, path in enumerate(files, start=1):
        ctx.raise_if_stopped()
        digests.append(ctx.jobs.upload_blob(path, stop=ctx.stop_requested).digest)
        ctx.cache.add_blob(digests[-1], path)
        meter(number, len(files))
    return ImportedDataset(
        digest=imported.digest,
        manifest=digests[0],
        report=digests[1],
        archive=digests[2] if archive else None,
        splits={name: counts.model_dump() for name, counts in imported.report.splits.items()},
        problems=imported.report.problems,
    )


@contextmanager
def _root(ctx: JobContext, source: FolderSource | ArchiveSource | GeneratorSource) -> Iterator[tuple[Path, Path | None]]:
    """The folder of the dataset's files, and the archive that was made of generated ones."""
    match source:
        case FolderSource():
            yield inputs.local_folder(source.root), None
        case ArchiveSource():
            with inputs.unpacked(ctx, source.blob) as folder:
                yield folder, None
        case GeneratorSource():
            folder = ctx.folder / "generated"
            generate(source, folder, progress=Meter(ctx, "generate", "image"), stop=ctx.stop_requested)
            yield folder, _packed(folder, ctx.folder / "generated.tar")


def _packed(folder: Path, archive: Path) -> Path:
    """A tar whose bytes depend on the files alone, so that the same dataset is the same blob."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            tar.add(path, path.relative_to(folder).as_posix(), filter=_anonymous)
    return archive


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = 0, 0o644
    return member
