"""What kinds of jobs there are, with the schema of their submission and an example that works."""

from collections.abc import Callable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from services.jobs.models.models import ModelVersion, RegistrationState
from services.jobs.models.references import SENSOR_QUANTIZATION
from shared.contracts.datasets import DatasetIn, DatasetSelection, DatasetState, GeneratorSource
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, ModelTeacher, SamTeacher, Teacher
from shared.contracts.evaluation import EvaluatedModel
from shared.contracts.imports import WeightsFormat
from shared.contracts.jobs import (
    DistillationSubmission,
    EvaluationSubmission,
    JobKind,
    JobKindOut,
    ModelImportSubmission,
    PackagingSubmission,
    QuantizationSubmission,
    Submission,
    TrainingSubmission,
)
from shared.contracts.packaging import GoldenWindows
from shared.contracts.quantization import Calibration
from shared.contracts.tags import PACKAGE_TAG, QUANTIZATION_TAG
from shared.kit.blobs import BlobStore


def describe(session: Session, blobs: BlobStore) -> list[JobKindOut]:
    """All kinds. The examples name a dataset, a version and a checkpoint that are there, where some fit."""
    train, validation = _splits(session)
    return [
        _training(train, validation),
        _distillation(train, validation, _teacher(session, blobs)),
        _evaluation(validation, _newest_version(session)),
        _quantization(train, validation, _newest_version(session)),
        _packaging(validation, _newest_for_sensor(session)),
        _dataset_import(),
        _model_import(),
    ]


def _submitted(kind: JobKind, description: str, example: Submission) -> JobKindOut:
    """A kind with a route of its own, named like it."""
    return JobKindOut(
        kind=kind,
        description=description,
        submit=f"POST /v1/jobs/{kind.value}",
        json_schema=type(example).model_json_schema(),
        example=example.model_dump(mode="json"),
    )


def _training(train: DatasetSelection, validation: DatasetSelection) -> JobKindOut:
    example = TrainingSubmission(name="first-try", tags={"purpose": "demo"}, train=[train], validation=validation)
    description = "Trains a model on prompt windows, evaluates it, exports it and registers a version."
    return _submitted(JobKind.TRAINING, description, example)


def _distillation(train: DatasetSelection, validation: DatasetSelection, teacher: Teacher) -> JobKindOut:
    example = DistillationSubmission(name="with-a-teacher", train=[train], validation=validation, teacher=teacher)
    description = (
        "Trains a model on masks and on what a teacher answers: SAM 2.1, or a registered version. "
        "`GET /v1/teachers` lists the published checkpoints and which of them are here."
    )
    return _submitted(JobKind.DISTILLATION, description, example)


def _evaluation(dataset: DatasetSelection, model: str) -> JobKindOut:
    example = EvaluationSubmission(name="first-look", models=[EvaluatedModel(model=model)], dataset=dataset)
    description = (
        "Scores registered versions on the prompts of a split: by border rule, object size, category and prompt "
        "noise; compares several on the same prompts."
    )
    return _submitted(JobKind.EVALUATION, description, example)


def _quantization(train: DatasetSelection, validation: DatasetSelection, model: str) -> JobKindOut:
    example = QuantizationSubmission(
        name="for-the-sensor", model=model, calibration=Calibration(dataset=train), validation=validation
    )
    description = (
        "Quantizes a float version for the IMX500 (Sony's toolkit: PTQ, GPTQ, QAT, mixed precision) or for CPUs "
        "(ONNX Runtime), compares both on the same prompts, and fails where too much is lost."
    )
    return _submitted(JobKind.QUANTIZATION, description, example)


def _packaging(golden: DatasetSelection, model: str) -> JobKindOut:
    example = PackagingSubmission(name="for-cameras", model=model, golden=GoldenWindows(dataset=golden))
    description = (
        "Converts a version that is quantized for the IMX500 with Sony's converter, sees that it fits the sensor, and makes a "
        "package of it that cameras install: with golden frames, a model card and a bill of materials, signed by the service."
    )
    return _submitted(JobKind.PACKAGING, description, example)


def _teacher(session: Session, blobs: BlobStore) -> Teacher:
    """SAM 2.1 of a size that is here, else the newest version."""
    for published in PUBLISHED_CHECKPOINTS.values():
        if blobs.exists(published.digest):
            return SamTeacher(size=published.size)
    return ModelTeacher(model=_newest_version(session))


def _newest_version(session: Session) -> str:
    """Of the newest hundred the first float one, as name/version; what the first training makes if there is none."""
    return _newest(session, lambda tags: QUANTIZATION_TAG not in tags and PACKAGE_TAG not in tags) or "picosam2/1"


def _newest_for_sensor(session: Session) -> str:
    """The same of those that are quantized for the sensor."""
    return _newest(session, lambda tags: tags.get(QUANTIZATION_TAG) == SENSOR_QUANTIZATION) or "picosam2.imx500/1"


def _newest(session: Session, fits: Callable[[Mapping[str, str]], bool]) -> str | None:
    registered = select(ModelVersion).where(ModelVersion.state == RegistrationState.REGISTERED)
    newest = session.scalars(registered.order_by(ModelVersion.id.desc()).limit(100))
    row = next((each for each in newest if fits(each.tags)), None)
    return f"{row.name}/{row.version}" if row else None


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
