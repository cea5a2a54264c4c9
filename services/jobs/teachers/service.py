"""Published checkpoints of teachers: which of them are here, and which one a submission means."""

from shared.contracts.base import Digest
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, Checkpoint, PublishedCheckpoint, SamTeacher, TeacherOut
from shared.kit.blobs import BlobStore
from shared.kit.problems import InvalidRequest


def list_all(blobs: BlobStore) -> list[TeacherOut]:
    """Every published checkpoint, the smallest first."""
    return [_shown(blobs, published) for published in PUBLISHED_CHECKPOINTS.values()]


def _shown(blobs: BlobStore, published: PublishedCheckpoint) -> TeacherOut:
    present = blobs.exists(published.digest)
    size_bytes = blobs.size(published.digest) if present else published.size_bytes
    known = {"name": published.name, "present": present, "size_bytes": size_bytes}
    return TeacherOut.model_validate(published.model_dump() | known)


def resolve(blobs: BlobStore, teacher: SamTeacher, field: str) -> SamTeacher:
    """The teacher with its checkpoint named; without one if random weights were asked for.

    Raises InvalidRequest for ``field`` if the checkpoint is a blob that is not here. What lies behind a URL is the
    worker's to check: it may see what the service cannot.
    """
    if teacher.checkpoint is None and teacher.allow_random_weights:
        return teacher
    published = PUBLISHED_CHECKPOINTS[teacher.size]
    checkpoint = teacher.checkpoint or Checkpoint(digest=published.digest)
    if checkpoint.url is None and not blobs.exists(checkpoint.digest):
        raise _missing(checkpoint, published, f"{field}.checkpoint")
    return teacher.model_copy(update={"checkpoint": checkpoint})


def _missing(checkpoint: Checkpoint, published: PublishedCheckpoint, field: str) -> InvalidRequest:
    if checkpoint.digest != published.digest:
        hint = "upload it with `POST /v1/blobs`, or say by `url` where the workers find it"
        return InvalidRequest.of_field(field, f"there is no blob {checkpoint.digest}", hint)
    message = f"this platform does not have {published.name}, which Meta publishes at {published.url}"
    return InvalidRequest.of_field(field, message, f"`picofleet teachers fetch {published.name}` fetches it")


def label_of(digest: Digest) -> str:
    """What people call a checkpoint: its published name, else the beginning of its digest."""
    names = {published.digest: published.name for published in PUBLISHED_CHECKPOINTS.values()}
    return names.get(digest, digest[:19])
