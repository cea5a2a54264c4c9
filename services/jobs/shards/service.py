"""Decisions on prepared shards: first writer wins, since the same key means the same bytes."""

import re
from typing import Final

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.jobs.datasets import repository as datasets
from services.jobs.shards import repository
from services.jobs.shards.errors import ShardsIncomplete, ShardsNotFound
from services.jobs.shards.models import ShardFile, ShardSetRow
from shared.contracts.base import Digest
from shared.contracts.worker import ShardSet
from shared.kit.blobs import BlobStore
from shared.kit.database import violated
from shared.kit.problems import InvalidRequest

# Workers write these names into their cache, so none may lead out of it.
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def offer(session: Session, blobs: BlobStore, key: str, body: ShardSet) -> ShardSetRow:
    """Keep a prepared set, or give the one that is there. A set whose bytes were lost is replaced.

    Raises DatasetNotFound, ShardsIncomplete and InvalidRequest.
    """
    _check(blobs, key, body)
    datasets.get(session, body.dataset_id)
    earlier = repository.find(session, key)
    if earlier is not None and _is_whole(blobs, earlier):
        return earlier
    if earlier is not None:
        session.delete(earlier)
        session.flush()
    return _insert(session, body)


def _insert(session: Session, body: ShardSet) -> ShardSetRow:
    files = [ShardFile(key=body.key, name=name, digest=digest) for name, digest in body.files.items()]
    row = ShardSetRow(key=body.key, dataset_id=body.dataset_id, windows=body.windows, size_bytes=body.size_bytes, rows=files)
    try:
        with session.begin_nested():
            session.add(row)
    except IntegrityError as exc:
        if violated(exc) != ("shard_sets", ("key",)):
            raise
    stored = repository.find(session, body.key)
    assert stored is not None
    return stored


def find(session: Session, blobs: BlobStore, key: str) -> ShardSetRow:
    """The set of this key. Raises ShardsNotFound, also if one of its files is gone: then it must be prepared again."""
    row = repository.find(session, key)
    if row is None or not _is_whole(blobs, row):
        raise ShardsNotFound(f"There are no shards {key}.")
    return row


def forget(session: Session, dataset_id: str, *, heir_id: str | None) -> list[Digest]:
    """Drop the sets of a dataset, or let its twin inherit them; returns the blobs that were dropped."""
    if heir_id is not None:
        repository.move(session, dataset_id, heir_id)
        return []
    rows = repository.of_dataset(session, dataset_id)
    dropped = [file.digest for row in rows for file in row.rows]
    for row in rows:
        session.delete(row)
    session.flush()
    return dropped


def _is_whole(blobs: BlobStore, row: ShardSetRow) -> bool:
    return all(blobs.exists(file.digest) for file in row.rows)


def _check(blobs: BlobStore, key: str, body: ShardSet) -> None:
    if key != body.key:
        raise InvalidRequest.of_field("body.key", f"differs from the key in the path, {key}", "send the same key twice")
    for name, digest in body.files.items():
        if not _FILE_NAME.fullmatch(name):
            raise InvalidRequest.of_field("body.files", f"{name[:80]!r} is not a plain file name", "as images-0.npy")
        if not blobs.exists(digest):
            raise ShardsIncomplete(f"The blob {digest} of {name!r} is not there.", file=name, digest=digest)
