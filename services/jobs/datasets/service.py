"""Decisions on datasets."""

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.jobs.datasets import repository, roots
from services.jobs.datasets.errors import DatasetInUse, DatasetNameTaken, DatasetNotReady
from services.jobs.datasets.models import Dataset
from services.jobs.jobs import service as jobs
from services.jobs.shards import repository as shard_rows
from services.jobs.shards import service as shards
from shared.contracts.base import Digest, is_id
from shared.contracts.datasets import ArchiveSource, DatasetIn, FolderSource, GeneratorSource, Source
from shared.contracts.imports import DatasetImportSpec
from shared.kit.blobs import BlobStore
from shared.kit.database import violated
from shared.kit.problems import InvalidRequest


def register_dataset(session: Session, body: DatasetIn, *, owner: str, blobs: BlobStore, allowed: list[str]) -> Dataset:
    """Store the dataset and queue its import in the same transaction. DatasetNameTaken also when two requests race."""
    source = check_source(body, blobs, allowed)
    rule = body.split_rule
    dataset = Dataset(
        name=body.name,
        source=source.model_dump(mode="json"),
        split_rule=rule.model_dump(mode="json") if rule else None,
        description=body.description,
        tags=body.tags,
        owner=owner,
    )
    _insert(session, dataset)
    spec = DatasetImportSpec(dataset_id=dataset.id, name=body.name, source=source, split_rule=rule)
    job = jobs.enqueue(session, spec=spec, owner=owner, name=f"import {body.name}", tags=body.tags)
    dataset.import_job = job.id
    session.flush()
    session.refresh(dataset)
    return dataset


def _insert(session: Session, dataset: Dataset) -> None:
    try:
        with session.begin_nested():
            session.add(dataset)
    except IntegrityError as exc:
        if violated(exc) != ("datasets", ("name",)):
            raise
        raise DatasetNameTaken(f"A dataset named {dataset.name!r} exists.", name=dataset.name) from exc


def check_source(body: DatasetIn, blobs: BlobStore, allowed: list[str]) -> Source:
    """The source with its real paths. Raises InvalidRequest and its kinds, by field."""
    if is_id(body.name):
        raise InvalidRequest.of_field("body.name", "a name must not have the form of an id", "choose a word")
    if isinstance(body.source, GeneratorSource):
        return body.source
    _check_split_names(body)
    if isinstance(body.source, ArchiveSource):
        _check_archive(body.source, blobs)
        return body.source
    return _checked_folder(body.source, allowed)


def _checked_folder(source: FolderSource, allowed: list[str]) -> FolderSource:
    folder = roots.folder_of(source.root, allowed)
    roots.check_splits(folder, source.splits, allowed)
    return source.model_copy(update={"root": str(folder)})


def _check_archive(source: ArchiveSource, blobs: BlobStore) -> None:
    if not blobs.exists(source.blob):
        hint = "upload the archive with POST /v1/blobs first"
        raise InvalidRequest.of_field("body.source.blob", f"there is no blob {source.blob}", hint)
    for index, split in enumerate(source.splits):
        roots.check_relative(split.images, f"body.source.splits.{index}.images")
        roots.check_relative(split.annotations, f"body.source.splits.{index}.annotations")


def _check_split_names(body: DatasetIn) -> None:
    assert not isinstance(body.source, GeneratorSource)
    names = [split.split for split in body.source.splits]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InvalidRequest.of_field(
                f"body.source.splits.{index}.split", f"{name!r} is there twice", "name each split once"
            )
    if body.split_rule is not None and body.split_rule.from_split not in names:
        hint = f"the source has {', '.join(names)}"
        raise InvalidRequest.of_field("body.split_rule.from_split", f"no split {body.split_rule.from_split!r}", hint)


def report_digest(session: Session, name_or_id: str) -> Digest:
    """The blob of the report. Raises DatasetNotFound, and DatasetNotReady while there is none."""
    dataset = repository.get(session, name_or_id)
    if dataset.report is None:
        raise DatasetNotReady(f"The dataset {dataset.name!r} is {dataset.state}.", state=dataset.state, job=dataset.import_job)
    return dataset.report


def delete_dataset(session: Session, name_or_id: str, *, force: bool) -> list[Digest]:
    """Forget a dataset; returns the blobs that nothing refers to any more, to be deleted after the commit.

    Raises DatasetNotFound, and DatasetInUse unless ``force``; forced, the jobs that read it fail with `dataset_gone`.
    """
    dataset = repository.get(session, name_or_id)
    _release(session, dataset, force=force)
    twin = repository.twin(session, dataset)
    freed = [dataset.manifest, dataset.report, dataset.archive, dataset.source.get("blob")]
    freed += shards.forget(session, dataset.id, heir_id=twin.id if twin else None)
    session.delete(dataset)
    session.flush()
    return [digest for digest in dict.fromkeys(freed) if digest is not None and not _is_used(session, digest)]


def _release(session: Session, dataset: Dataset, *, force: bool) -> None:
    if force:
        jobs.fail_jobs_of_dataset(session, dataset.id, dataset.name)
        return
    active = jobs.active_job_ids(session, dataset.id)
    if active:
        raise DatasetInUse(f"{len(active)} jobs need the dataset {dataset.name!r}.", jobs=active)


def _is_used(session: Session, digest: Digest) -> bool:
    return repository.uses_blob(session, digest) or shard_rows.uses_blob(session, digest)
