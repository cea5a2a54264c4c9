"""From the split that a job names to the dataset that it means."""

from sqlalchemy.orm import Session

from services.jobs.datasets import repository
from services.jobs.datasets.errors import DatasetNotReady
from services.jobs.datasets.models import Dataset
from shared.contracts.datasets import DatasetSelection, DatasetState
from shared.kit.problems import InvalidRequest


def resolve(session: Session, selection: DatasetSelection, *, field: str) -> Dataset:
    """The ready dataset that holds the split. ``field`` is where the request names it, as ``body.validation``.

    Raises InvalidRequest if there is no such dataset or split, DatasetNotReady if it cannot be used (yet).
    """
    dataset = repository.find(session, selection.dataset)
    if dataset is None:
        hint = "`GET /v1/datasets` lists the datasets"
        raise InvalidRequest.of_field(f"{field}.dataset", f"there is no dataset {selection.dataset!r}", hint)
    if dataset.state != DatasetState.READY:
        raise DatasetNotReady(f"The dataset {dataset.name!r} is {dataset.state}.", dataset=dataset.name, state=dataset.state)
    if selection.split not in dataset.splits:
        hint = f"it has {', '.join(sorted(dataset.splits))}"
        raise InvalidRequest.of_field(f"{field}.split", f"{dataset.name!r} has no split {selection.split!r}", hint)
    return dataset
