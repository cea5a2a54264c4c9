"""Every query on shards."""

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session, selectinload

from services.jobs.shards.models import ShardFile, ShardSetRow


def find(session: Session, key: str) -> ShardSetRow | None:
    """The set with its files."""
    query = select(ShardSetRow).where(ShardSetRow.key == key).options(selectinload(ShardSetRow.rows))
    return session.scalar(query.execution_options(populate_existing=True))


def of_dataset(session: Session, dataset_id: str) -> Sequence[ShardSetRow]:
    """All sets of a dataset with their files."""
    query = select(ShardSetRow).where(ShardSetRow.dataset_id == dataset_id)
    return session.scalars(query.options(selectinload(ShardSetRow.rows))).all()


def move(session: Session, dataset_id: str, heir_id: str) -> None:
    """Let the sets belong to another dataset of the same content."""
    session.execute(update(ShardSetRow).where(ShardSetRow.dataset_id == dataset_id).values(dataset_id=heir_id))


def uses_blob(session: Session, digest: str) -> bool:
    """True if a set has the blob."""
    return session.scalar(select(ShardFile.key).where(ShardFile.digest == digest).limit(1)) is not None
