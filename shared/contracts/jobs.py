"""Jobs as users see them: states, events, problems."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.contracts.base import Digest, Figures, Lenient, Strict, Tags, Timestamp
from shared.contracts.distillation import DistillationSpec
from shared.contracts.evaluation import EvaluationSpec
from shared.contracts.imports import DatasetImportSpec, ModelImportSpec
from shared.contracts.packaging import PackagingSpec
from shared.contracts.quantization import QuantizationSpec
from shared.contracts.training import TrainingSpec


class JobKind(StrEnum):
    """One Celery queue each, named like the kind."""

    TRAINING = "training"
    DISTILLATION = "distillation"
    EVALUATION = "evaluation"
    QUANTIZATION = "quantization"
    PACKAGING = "packaging"
    DATASET_IMPORT = "dataset_import"
    MODEL_IMPORT = "model_import"


class JobState(StrEnum):
    """DESIGN: queued -> running -> succeeded | failed | cancelling -> cancelled | lost -> queued."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    LOST = "lost"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if the job will not change any more, except by a retry."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}


JobSpec = Annotated[
    TrainingSpec | DistillationSpec | EvaluationSpec | QuantizationSpec | PackagingSpec | DatasetImportSpec | ModelImportSpec,
    Field(discriminator="kind"),
]


class Submission(Strict):
    """What every submitted job carries beside its spec."""

    name: str | None = Field(
        default=None, min_length=1, max_length=128, description="shown in lists and as the MLflow run's name"
    )
    tags: Tags = Field(default_factory=dict)


class TrainingSubmission(Submission, TrainingSpec):
    """Body of `POST /v1/jobs/training`."""


class DistillationSubmission(Submission, DistillationSpec):
    """Body of `POST /v1/jobs/distillation`."""


class EvaluationSubmission(Submission, EvaluationSpec):
    """Body of `POST /v1/jobs/evaluation`."""


class QuantizationSubmission(Submission, QuantizationSpec):
    """Body of `POST /v1/jobs/quantization`."""


class PackagingSubmission(Submission, PackagingSpec):
    """Body of `POST /v1/jobs/packaging`."""


class ModelImportSubmission(Submission, ModelImportSpec):
    """Body of `POST /v1/models/import`; the job's tags are copied to the version."""


class JobError(Lenient):
    """Why a job failed, for a person: never a bare stack trace."""

    type: str = Field(description="snake_case, stable: diverged, out_of_memory, disk_full, dataset_gone, worker_lost, ...")
    message: str
    hint: str = Field(description="what to do next")


class Progress(Lenient):
    """Where a running job is."""

    phase: str = Field(description="fetch, prepare, train, evaluate, export, upload, ...")
    done: int = Field(ge=0)
    total: int | None = Field(default=None, ge=0)
    unit: str = Field(default="step", description="step, window, image, byte")
    rate: float | None = Field(default=None, description="images per second in train, else units per second")
    eta_s: float | None = None
    metrics: Figures = Field(default_factory=dict, description="newest values, as loss, miou_96")


class JobOutput(Lenient):
    """What a job made: a registry version, a blob or a page to look at."""

    name: str = Field(description="unique in the job, as `model`")
    kind: Literal["model_version", "blob", "dataset"]
    registered_model: str | None = None
    version: int | None = Field(default=None, description="None while the registry has not answered yet")
    blob: Digest | None = None
    dataset_id: str | None = None


class JobParent(Lenient):
    """What a job is part of."""

    kind: Literal["pipeline", "sweep"]
    id: str
    part: str = Field(description="the pipeline's step, or the sweep's trial number")


class JobOut(Lenient):
    """A job."""

    id: str
    kind: JobKind
    name: str | None
    state: JobState
    spec: dict[str, Any]
    owner: str
    tags: dict[str, str]
    created_at: Timestamp
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    attempt: int = Field(description="0 before the first claim")
    worker: str | None = None
    progress: Progress | None = None
    error: JobError | None = None
    result: dict[str, Any] = Field(default_factory=dict, description="figures, as miou_96")
    outputs: list[JobOutput] = Field(default_factory=list)
    mlflow_run_id: str | None = None
    mlflow_url: str | None = None
    waiting_for: str | None = Field(default=None, description="for a queued job: why it waits")
    parent: JobParent | None = Field(default=None, description="the pipeline or sweep that made the job")


class EventType(StrEnum):
    """Names of the SSE events."""

    STATE = "state"
    PROGRESS = "progress"
    LOG = "log"
    OUTPUT = "output"


class JobEvent(Lenient):
    """One event. ``seq`` counts from 1 without gaps within a job: it is the SSE id."""

    seq: int
    type: EventType
    at: Timestamp
    payload: dict[str, Any] = Field(
        description="state: {state, attempt, worker?, error?}; progress: Progress; log: {level, message}; output: JobOutput"
    )


class JobKindOut(Lenient):
    """A kind of job and the JSON schema of its submission, with defaults and ranges."""

    kind: JobKind
    description: str
    submit: str | None = Field(description="the route that takes it; None for jobs that other routes make")
    json_schema: dict[str, Any]
    example: dict[str, Any]
