"""What kinds of jobs there are, with the schema of their submission and an example that works."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from shared.contracts.datasets import DatasetIn, DatasetSelection, DatasetState, GeneratorSource
from shared.contracts.imports import WeightsFormat
from shared.contracts.jobs import JobKind, JobKindOut, ModelImportSubmission, TrainingSubmission


def describe(session: Session) -> list[JobKindOut]:
    """All kinds. The example of a training job names a dataset that is there, if one fits."""
    return [_training(session), _dataset_import(), _model_import()]


def _training(session: Session) -> JobKindOut:
    train, validation = _splits(session)
    example = TrainingSubmission(name="first-try", tags={"purpose": "demo"}, train=[train], validation=validation)
    return JobKindOut(
        kind=JobKind.TRAINING,
        description="Trains a model on prompt windows, evaluates it, exports it and registers a version.",
        submit="POST /v1/jobs/training",
        json_schema=TrainingSubmission.model_json_schema(),
        example=example.model_dump(mode="json"),
    )


def _dataset_import() -> JobKindOut:
    example = DatasetIn(name="shapes", source=GeneratorSource())
    return JobKindOut(
        kind=JobKind.DATASET_IMPORT,
        description="Validates a dataset and writes its manifest. Made when a dataset is registered with `POST /v1/datasets`, "
        "whose schema this is.",
        submit=None,
        json_schema=DatasetIn.model_json_schema(),
        example=example.model_dump(mode="json"),
    )


def _model_import() -> JobKindOut:
    example = ModelImportSubmission(blob=f"sha256:{'0' * 64}", format=WeightsFormat.SAFETENSORS)
    return JobKindOut(
        kind=JobKind.MODEL_IMPORT,
        description="Brings existing weights, uploaded with `POST /v1/blobs`, into the registry.",
        submit="POST /v1/models/import",
        json_schema=ModelImportSubmission.model_json_schema(),
        example=example.model_dump(mode="json"),
    )


def _splits(session: Session) -> tuple[DatasetSelection, DatasetSelection]:
    """A split to train on and one to validate on: of the newest dataset that has two, else what the generator makes."""
    ready = select(Dataset).where(Dataset.state == DatasetState.READY).order_by(Dataset.id.desc()).limit(50)
    for dataset in session.scalars(ready):
        if len(dataset.splits) > 1:
            by_size = sorted(dataset.splits, key=lambda split: dataset.splits[split]["images"], reverse=True)
            return (DatasetSelection(dataset=dataset.name, split=by_size[0]), _held_out(dataset, by_size))
    return DatasetSelection(dataset="shapes", split="train"), DatasetSelection(dataset="shapes", split="val")


def _held_out(dataset: Dataset, by_size: list[str]) -> DatasetSelection:
    named = [split for split in by_size[1:] if "val" in split]
    return DatasetSelection(dataset=dataset.name, split=(named or by_size[1:])[0])
