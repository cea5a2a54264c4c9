"""What jobs read, datasets and model versions: from the names in a spec to rows, and from rows to what a worker is told."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.jobs.datasets import repository as datasets
from services.jobs.datasets.errors import DatasetNotReady
from services.jobs.datasets.grants import grant_of
from services.jobs.datasets.models import Dataset
from services.jobs.jobs import repository
from services.jobs.jobs.models import Job, JobDataset
from services.jobs.jobs.needs import NamedSplit
from services.jobs.jobs.service import Read, dataset_gone
from services.jobs.models import repository as models
from services.jobs.models.models import ModelVersion
from shared.contracts.datasets import DatasetSelection, DatasetState
from shared.contracts.jobs import JobError
from shared.contracts.worker import DatasetGrant, ModelGrant
from shared.kit.problems import InvalidRequest


def resolve(session: Session, splits: Sequence[NamedSplit], place: str = "body") -> list[Read]:
    """The splits that a job will read, in the order given. A dataset that is still being imported is accepted.

    Raises InvalidRequest, its field below ``place``, for an unknown dataset or split; DatasetNotReady for a dataset whose
    import failed.
    """
    return [_resolve(session, role, f"{place}.{field}", selection) for role, field, selection in splits]


def _resolve(session: Session, role: str, field: str, selection: DatasetSelection) -> Read:
    dataset = datasets.find(session, selection.dataset)
    if dataset is None:
        hint = "`GET /v1/datasets` lists the datasets"
        raise InvalidRequest.of_field(f"{field}.dataset", f"there is no dataset {selection.dataset!r}", hint)
    if dataset.state == DatasetState.FAILED:
        detail = f"The import of {dataset.name!r} failed: {dataset.error}"
        raise DatasetNotReady(detail, dataset=dataset.name, state=dataset.state, job=dataset.import_job)
    if dataset.state == DatasetState.READY and selection.split not in dataset.splits:
        message = f"{dataset.name!r} has no split {selection.split!r}"
        raise InvalidRequest.of_field(f"{field}.split", message, _splits_of(dataset))
    return Read(dataset.id, dataset.name, selection.split, role)


def _splits_of(dataset: Dataset) -> str:
    return f"it has {', '.join(sorted(dataset.splits)) or 'no split'}"


class Granted(NamedTuple):
    """What a worker needs of all that its job reads."""

    datasets: list[DatasetGrant]
    models: dict[str, ModelGrant]
    """By role."""


def grants(session: Session, job: Job) -> Granted | JobError | str:
    """What the job's worker is told of what it reads; why the job must fail; or, as text, what it has to wait for."""
    named = repository.models_of(session, [job.id])
    going = [row for row in models.rows_of(session, {(each.name, each.version) for each in named}) if not row.is_registered]
    if going:
        return _model_gone(going[0])
    datasets = _dataset_grants(session, job)
    if not isinstance(datasets, list):
        return datasets
    return Granted(datasets, {each.role: ModelGrant.model_validate(each) for each in named})


def _dataset_grants(session: Session, job: Job) -> list[DatasetGrant] | JobError | str:
    found: list[DatasetGrant] = []
    for read in repository.reads_of(session, [job.id]):
        dataset = session.get(Dataset, read.dataset_id)
        obstacle = _obstacle(dataset, read)
        if obstacle is not None:
            return obstacle
        assert dataset is not None
        read.digest = dataset.digest  # what the job saw is known even after the dataset was deleted
        found.append(grant_of(dataset))
    return found


def _obstacle(dataset: Dataset | None, read: JobDataset) -> JobError | str | None:
    if dataset is None:
        return dataset_gone(read.dataset_name)
    if dataset.state == DatasetState.FAILED:
        return _import_failed(dataset)
    if dataset.state == DatasetState.IMPORTING:
        return waiting_for_import(dataset)
    return None if read.split in dataset.splits else _split_missing(dataset, read)


def waiting_for_import(dataset: Dataset) -> str:
    """What a job says that reads a dataset which is still being imported."""
    return f"the dataset {dataset.name!r}, which is still being imported by job {dataset.import_job}"


def _import_failed(dataset: Dataset) -> JobError:
    return JobError(
        type="dataset_import_failed",
        message=f"The dataset {dataset.name!r} could not be imported: {dataset.error}",
        hint=f"see job {dataset.import_job} for the reason, retry it, then retry this job",
    )


def _model_gone(row: ModelVersion) -> JobError:
    # While a job waits or runs its versions cannot be deleted; one that is retried later may find them gone.
    return JobError(
        type="model_gone",
        message=f"The model version {row.name}/{row.version} was deleted.",
        hint="submit a new job that names a version which is there; `GET /v1/models` lists the models",
    )


def _split_missing(dataset: Dataset, read: JobDataset) -> JobError:
    return JobError(
        type="split_missing",
        message=f"The dataset {dataset.name!r} has no split {read.split!r}.",
        hint=f"{_splits_of(dataset)}; submit a new job that names one of these",
    )
