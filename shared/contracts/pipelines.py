"""Pipelines: jobs that build on each other. Sweeps: many jobs of one kind that differ in some fields.

A step's spec is the submission of its kind (`GET /v1/jobs/kinds`), in which a string may refer to what comes earlier:
`${parameters.samples}`, `${steps.train.model}` (as `picosam2/3`), `${steps.train.job}`, `${steps.train.result.miou_96}`.
A string that is one reference becomes the value itself, a number, list or object too; inside other text it is written out.
`$${` stands for a plain `${`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from shared.contracts.base import Lenient, Strict, Tags, Timestamp
from shared.contracts.jobs import JobError, JobKind, JobState, Progress

MAX_STEPS = 32
MAX_REFERENCES = 200
"""In one step: each may stand for a large value."""
MAX_TRIALS = 1000

StepName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""A letter, then letters, digits, underscores, hyphens: no dot, which ends the name inside a reference."""

ParameterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]

FieldPath = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.([a-z][a-z0-9_]*|\d{1,3}))*$", max_length=200)]
"""A field of a spec, as `recipe.learning_rate` or `train.0.split`."""

Reference: TypeAlias = Annotated[str, StringConstraints(pattern=r"^\$\{[^{}]+\}$", max_length=200)]


class Gate(Strict):
    """What a step must reach, or the pipeline stops there. A limit may be a reference, as `${steps.train.result.miou_96}`."""

    figure: str = Field(
        min_length=1, max_length=200, description="of the job's result; dots lead inside, as in miou_96 or models.0.miou_96"
    )
    at_least: float | Reference | None = None
    at_most: float | Reference | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> "Gate":
        if self.at_least is None and self.at_most is None:
            raise ValueError("a gate needs at_least or at_most")
        return self


class StepIn(Strict):
    """One job of a pipeline. It starts when all that it refers to, and all in `after`, have succeeded."""

    name: StepName
    kind: JobKind
    spec: dict[str, Any] = Field(description="the body of `POST /v1/jobs/<kind>`, with references")
    after: list[StepName] = Field(default_factory=list, max_length=MAX_STEPS, description="beyond the steps that it refers to")
    gates: list[Gate] = Field(default_factory=list, max_length=32)


class PipelineIn(Strict):
    """Body of `POST /v1/pipelines`: either a template or steps."""

    name: str | None = Field(default=None, min_length=1, max_length=128, description="null: the template's name, or `pipeline`")
    tags: Tags = Field(default_factory=dict, description="every job of the pipeline has them too")
    template: str | None = Field(default=None, max_length=63, description="one of `GET /v1/pipelines/templates`")
    steps: list[StepIn] | None = Field(default=None, min_length=1, max_length=MAX_STEPS)
    parameters: dict[ParameterName, Any] = Field(default_factory=dict, max_length=100)

    @model_validator(mode="after")
    def _one_of_both(self) -> "PipelineIn":
        if (self.template is None) == (self.steps is None):
            raise ValueError("a pipeline has either a template or steps of its own")
        return self


class RetryIn(Strict):
    """Body of `POST /v1/pipelines/{id}/retry`."""

    from_step: StepName | None = Field(
        default=None,
        description="this step and all that builds on it run again, and all that has not succeeded; null: the latter alone",
    )
    from_checkpoint: bool = Field(
        default=True,
        description="a job that failed or was cancelled goes on from its last checkpoint if it would be told the same again",
    )


class StepState(StrEnum):
    """waiting -> running -> succeeded | failed | cancelled; waiting -> skipped | cancelled | failed."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Its job failed, a gate did not open, or it could not be submitted any more."""
    SKIPPED = "skipped"
    """A step that it builds on did not succeed."""
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if the step will not change any more, except by a retry."""
        return self not in {StepState.WAITING, StepState.RUNNING}


class PipelineState(StrEnum):
    """running -> succeeded | failed | cancelling -> cancelled; a retry leads back to running. Sweeps have the same."""

    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """True if nothing will happen any more, except by a retry."""
        return self not in {PipelineState.RUNNING, PipelineState.CANCELLING}


class StepOut(Lenient):
    """A step and where it stands."""

    name: str
    kind: JobKind
    spec: dict[str, Any] = Field(description="as it was written, with references")
    after: list[str] = Field(description="all steps that it builds on, those of its references included")
    gates: list[Gate] = Field(default_factory=list)
    state: StepState
    job_id: str | None = Field(default=None, description="the newest job made for it")
    job_ids: list[str] = Field(default_factory=list, description="all of them, oldest first: a retry may make a new one")
    job_state: JobState | None = None
    progress: Progress | None = Field(default=None, description="of a running job")
    waiting_for: str | None = Field(default=None, description="for a waiting step, or one whose job is queued: why")
    model: str | None = Field(default=None, description="name/version that it registered")
    result: dict[str, Any] = Field(default_factory=dict, description="the job's figures")
    mlflow_url: str | None = None
    error: JobError | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None


class PipelineOut(Lenient):
    """A pipeline. Its steps are listed in an order in which they could run."""

    id: str
    name: str
    template: str | None = None
    owner: str
    tags: dict[str, str]
    parameters: dict[str, Any]
    state: PipelineState
    steps: list[StepOut]
    error: JobError | None = Field(default=None, description="of the first step that did not succeed")
    created_at: Timestamp
    finished_at: Timestamp | None = None


class TemplateOut(Lenient):
    """`GET /v1/pipelines/templates`: a pipeline that only needs its parameters."""

    name: str
    description: str
    json_schema: dict[str, Any] = Field(description="of `parameters`, with defaults and ranges")
    steps: list[StepIn] = Field(description="as they are with the defaults; some parameters change them")


# Sweeps


class GridSearch(Strict):
    """Every combination of the values."""

    kind: Literal["grid"] = "grid"
    fields: dict[FieldPath, Annotated[list[Any], Field(min_length=1, max_length=MAX_TRIALS)]] = Field(
        min_length=1, max_length=16, description="values by field of the spec, as recipe.learning_rate"
    )


class Range(Strict):
    """A number between two others, both included. Both and `step` whole: a whole number."""

    low: int | float
    high: int | float
    log: bool = Field(default=False, description="evenly over orders of magnitude")
    step: int | float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> "Range":
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, not {self.low}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        return self

    @property
    def whole(self) -> bool:
        """True for a range of whole numbers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))


class Choices(Strict):
    """One of these values."""

    choices: list[Any] = Field(min_length=1, max_length=100)


def _sort_of_field(field: Any) -> str:
    chosen = "choices" in field if isinstance(field, dict) else isinstance(field, Choices)
    return "choices" if chosen else "range"


SearchField: TypeAlias = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_sort_of_field)
]


class OptunaSearch(Strict):
    """Optuna proposes each trial from the results of those before it."""

    kind: Literal["optuna"] = "optuna"
    fields: dict[FieldPath, SearchField] = Field(min_length=1, max_length=16)
    trials: int = Field(default=20, ge=1, le=MAX_TRIALS)
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = Field(default=0, ge=0, lt=2**32)


Search = Annotated[GridSearch | OptunaSearch, Field(discriminator="kind")]


class SweepBase(Strict):
    """What all trials have in common."""

    kind: JobKind
    spec: dict[str, Any] = Field(description="the body of `POST /v1/jobs/<kind>`")


class Objective(Strict):
    """What makes one trial better than another."""

    figure: str = Field(default="miou_96", min_length=1, max_length=200, description="of the job's result; dots lead inside")
    direction: Literal["maximize", "minimize"] = "maximize"


class SweepIn(Strict):
    """Body of `POST /v1/sweeps`."""

    name: str = Field(min_length=1, max_length=128, description="also of the MLflow run that has the trials below it")
    tags: Tags = Field(default_factory=dict, description="every trial has them too")
    base: SweepBase
    search: Search
    objective: Objective = Objective()
    parallel: int = Field(default=1, ge=1, le=64, description="trials at a time; fewer make Optuna's proposals better")
    max_failed: int | None = Field(
        default=None, ge=0, le=MAX_TRIALS, description="give up after more failed trials than this; null: never"
    )


class TrialState(StrEnum):
    """running -> succeeded | failed | cancelled."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Its job failed, has not the figure, or could not be submitted."""
    CANCELLED = "cancelled"


class TrialOut(Lenient):
    """One job of a sweep."""

    number: int = Field(description="from 0")
    state: TrialState
    values: dict[str, Any] = Field(description="by field of the spec")
    figure: float | None = Field(default=None, description="the objective's")
    job_id: str | None = None
    mlflow_url: str | None = None
    error: JobError | None = None
    started_at: Timestamp
    finished_at: Timestamp | None = None


class SweepOut(Lenient):
    """A sweep."""

    id: str
    name: str
    owner: str
    tags: dict[str, str]
    base: SweepBase
    search: Search
    objective: Objective
    parallel: int
    max_failed: int | None = None
    state: PipelineState
    total: int = Field(description="trials in all, if it comes to its end")
    counts: dict[TrialState, int] = Field(default_factory=dict)
    best: TrialOut | None = None
    trials: list[TrialOut] = Field(default_factory=list, description="in order; empty in lists")
    waiting_for: str | None = Field(default=None, description="why no further trial starts, as MLflow that is away")
    mlflow_run_id: str | None = Field(default=None, description="the parent run of all trials")
    mlflow_url: str | None = None
    error: JobError | None = None
    created_at: Timestamp
    finished_at: Timestamp | None = None
