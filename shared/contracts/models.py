"""The model registry as users see it. MLflow holds it; lineage lives in the jobs database."""

from enum import StrEnum

from pydantic import Field

from shared.contracts.base import Digest, Figures, Lenient, Strict, Timestamp
from shared.contracts.jobs import JobKind, JobState


class AliasIn(Strict):
    """`PUT /v1/models/{name}/aliases/{alias}`: promotes a version."""

    version: int = Field(ge=1)


class VersionOut(Lenient):
    """One version of a registered model."""

    name: str
    version: int
    created_at: Timestamp
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)
    run_id: str | None = None
    job_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    parents: list[str] = Field(default_factory=list, description="what it was made from: dataset ids, name/version")
    artifacts: list[str] = Field(default_factory=list, description="file names; filled in when one version is asked for")


class ModelOut(Lenient):
    """A registered model."""

    name: str
    description: str = ""
    created_at: Timestamp
    updated_at: Timestamp
    latest_version: int | None = None
    aliases: dict[str, int] = Field(default_factory=dict)


class LineageKind(StrEnum):
    """What stands in a lineage."""

    VERSION = "version"
    DATASET = "dataset"
    CHECKPOINT = "checkpoint"
    """A teacher's published weights, which no job of ours made."""
    JOB = "job"


class LineageNode(Lenient):
    """One thing. Fields that do not belong to its kind are empty."""

    id: str = Field(description="unique in the answer: version:picosam2/3, dataset:ID, checkpoint:DIGEST, job:ID")
    kind: LineageKind
    label: str = Field(description="for people: picosam2/3, a dataset's name, sam2.1-tiny, a job's name or kind")
    distance: int = Field(description="in edges from the version asked for, which has 0; negative towards the data")
    created_at: Timestamp | None = None
    digest: Digest | None = Field(default=None, description="of a dataset or checkpoint; None if it is not known any more")
    gone: bool = Field(default=False, description="a dataset or version that was deleted since")
    job_kind: JobKind | None = None
    job_state: JobState | None = None
    figures: Figures = Field(default_factory=dict, description="of a version or an evaluation, as miou_96")


class LineageEdge(Lenient):
    """What went into something, or came out of it: always from the older to the newer."""

    source: str = Field(description="id of a node")
    target: str = Field(description="id of a node")
    role: str = Field(
        description="into a job: train, calibration, validation, dataset, initial_model, teacher, model, models.0, ...; "
        "out of it: its name there"
    )
    split: str | None = Field(default=None, description="of a dataset")


class LineageOut(Lenient):
    """`GET /v1/models/{name}/versions/{version}/lineage`: what the version was made from, and what was made from it.

    Versions are made by jobs, and jobs read versions, datasets and checkpoints; so edges lead from those to a job, and from
    the job to its versions. Jobs that failed or were cancelled are left out.
    """

    root: str = Field(description="id of the version that was asked for")
    nodes: list[LineageNode] = Field(description="the nearest first")
    edges: list[LineageEdge]
    truncated: bool = Field(default=False, description="true if there is more than one answer holds")
