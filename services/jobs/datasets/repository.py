"""Every query on datasets."""

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from services.jobs.datasets.errors import DatasetNotFound
from services.jobs.datasets.models import Dataset
from shared.contracts.base import is_id
from shared.contracts.datasets import DatasetState
from shared.kit.pages import PageParams, newest_first


def find(session: Session, name_or_id: str) -> Dataset | None:
    """By id or name; no name has the form of an id."""
    column = Dataset.id if is_id(name_or_id) else Dataset.name
    return session.scalar(select(Dataset).where(column == name_or_id))


def get(session: Session, name_or_id: str) -> Dataset:
    """By id or name. Raises DatasetNotFound."""
    dataset = find(session, name_or_id)
    if dataset is None:
        raise DatasetNotFound(f"There is no dataset {name_or_id[:80]!r}.", dataset=name_or_id[:80])
    return dataset


def page(session: Session, state: DatasetState | None, page: PageParams) -> tuple[Sequence[Dataset], str | None]:
    """Datasets, newest first, all states unless one is asked for."""
    query = select(Dataset) if state is None else select(Dataset).where(Dataset.state == state)
    return newest_first(session, query, Dataset.id, page)


def twin(session: Session, dataset: Dataset) -> Dataset | None:
    """Another dataset with the same content."""
    same = select(Dataset).where(Dataset.digest == dataset.digest, Dataset.id != dataset.id)
    return session.scalars(same.order_by(Dataset.id)).first() if dataset.digest else None


def uses_blob(session: Session, digest: str) -> bool:
    """True if a dataset refers to the blob."""
    columns = (Dataset.manifest, Dataset.report, Dataset.archive, Dataset.source["blob"].as_string())
    return session.scalar(select(Dataset.id).where(or_(*(column == digest for column in columns))).limit(1)) is not None
