"""The worker protocol: HTTP from workers to the jobs service. Readers ignore unknown fields; old workers live on.

Every message about a claimed job carries the fencing token of the claim. A stale token gets 409 `stale-token`, and the
worker stops at once, writing nothing more.
"""

from typing import Any

from pydantic import Field

from shared.contracts.base import Digest, Figures, Lenient, Name, Text, Timestamp
from shared.contracts.jobs import JobError, JobKind, JobOutput, JobSpec, Progress


class WorkerHello(Lenient):
    """`POST /v1/worker/hello`: who is there; sent at start and every 10 s. Answer: 204."""

    worker: str = Field(min_length=1, max_length=128, description="stable over restarts, as host:name")
    queues: list[str] = Field(description="kinds of jobs; a newer worker may name some that are unknown here")
    slots: int = Field(default=1, ge=1, description="jobs at a time")
    busy: int = Field(default=0, ge=0)
    host: str = ""
    device: str = Field(default="cpu", description="cpu, or the accelerator's name")
    versions: dict[str, str] = Field(default_factory=dict, description="picofleet, torch, ...")


class WorkerOut(WorkerHello):
    """`GET /v1/workers`."""

    first_seen_at: Timestamp
    last_seen_at: Timestamp
    alive: bool
    jobs: list[str] = Field(default_factory=list, description="ids of the jobs it holds")


class ClaimIn(Lenient):
    """`POST /v1/worker/jobs/{id}/claim`."""

    worker: str = Field(min_length=1, max_length=128)


class Checkpoint(Lenient):
    """Where a job can be taken up again: `PUT /v1/worker/jobs/{id}/checkpoint` with the token; the newest is kept."""

    step: int = Field(ge=0)
    files: dict[str, Digest] = Field(description="file name to blob; the blobs were uploaded before")


class CheckpointIn(Checkpoint):
    """A checkpoint with the claim's token."""

    token: int


class DatasetGrant(Lenient):
    """What a worker needs of a dataset that its job names."""

    id: str
    name: str
    digest: Digest
    manifest: Digest
    root: str | None = Field(description="file:// URL of a dataset registered in place, else None")
    archive: Digest | None = Field(description="blob of an uploaded or generated dataset, else None")


class ModelGrant(Lenient):
    """What a worker needs of a registered model version that its job names."""

    name: str
    version: int
    artifact_uri: str = Field(description="MLflow artifact folder with model.safetensors, model.onnx, config.json")


class Claim(Lenient):
    """The answer to a claim: the job is the caller's until the lease runs out. 409 `not-claimable` to all others."""

    job_id: str
    kind: JobKind
    name: str | None = None
    spec: JobSpec
    owner: str
    tags: dict[str, str] = Field(default_factory=dict)
    attempt: int = Field(ge=1)
    token: int
    lease_s: float
    checkpoint: Checkpoint | None = None
    mlflow_run_id: str | None = None
    datasets: list[DatasetGrant] = Field(
        default_factory=list, description="in the spec's order: train... or calibration, validation; golden"
    )
    models: dict[str, ModelGrant] = Field(
        default_factory=dict, description="by role: initial_model, teacher, model, models.0, models.1, ..."
    )
    parent_run_id: str | None = Field(default=None, description="MLflow run of the sweep that the job is a trial of")


class HeartbeatIn(Lenient):
    """`POST /v1/worker/jobs/{id}/heartbeat`: extends the lease."""

    token: int


class HeartbeatOut(Lenient):
    """What the worker must know now."""

    stop_requested: bool
    lease_s: float


class LogLine(Lenient):
    """One line for the user."""

    level: str = "info"
    message: Text = Field(max_length=8192)


class ReportIn(Lenient):
    """`POST /v1/worker/jobs/{id}/progress`: progress and log lines since the last one; counts as a heartbeat.

    ``report_no`` counts from 1 within a claim; a repeated number is acknowledged and not stored twice.
    """

    token: int
    report_no: int = Field(ge=1)
    progress: Progress | None = None
    logs: list[LogLine] = Field(default_factory=list, max_length=1000)
    mlflow_run_id: str | None = None


class RegisterModel(Lenient):
    """A model that a finished job wants registered: made by the service alone, once per job and output name."""

    output: Name = Field(description="unique in the job, as `model`")
    registered_model: Name
    run_id: str = Field(pattern=r"^[0-9A-Za-z_-]{1,64}$")
    artifact_path: str = Field(default="model", min_length=1, max_length=255)
    description: str = Field(default="", max_length=2000)
    tags: dict[str, str] = Field(default_factory=dict, description="lineage: dataset digest, parent version, git commit, ...")
    metrics: Figures = Field(default_factory=dict)


class FinishIn(Lenient):
    """`POST /v1/worker/jobs/{id}/finish`. Exactly one of: succeeded (no error), failed (error), cancelled.

    ``cancelled`` without a stop that was asked for hands the job back, as a worker does that is shut down: it is queued
    again, and the attempt does not count as lost.

    ``crashed`` says that the child process died without a word of its own (signal, out of memory): the attempt counts as
    lost, the job is queued again, and after five lost attempts it fails with ``error``.
    """

    token: int
    cancelled: bool = False
    crashed: bool = False
    error: JobError | None = None
    result: dict[str, Any] = Field(default_factory=dict)
    outputs: list[JobOutput] = Field(default_factory=list, description="blobs and datasets; models go into `register`")
    register_models: list[RegisterModel] = Field(default_factory=list)
    dataset: "ImportedDataset | None" = None
    package: "MadePackage | None" = None


class ImportedDataset(Lenient):
    """What a dataset import found."""

    digest: Digest
    manifest: Digest
    report: Digest = Field(description="blob of a DatasetReport as JSON")
    archive: Digest | None = Field(default=None, description="blob of a generated dataset's files")
    splits: dict[str, dict[str, int]]
    problems: dict[str, int] = Field(default_factory=dict)


class MadePackage(Lenient):
    """A package that a packaging job made, unsigned and without its release number: both come from the service."""

    blob: Digest = Field(description="a tar")


FinishIn.model_rebuild()


class ShardSet(Lenient):
    """`PUT/GET /v1/worker/shards/{key}`: prepared window shards for all workers. First writer wins; same key, same bytes."""

    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    dataset_id: str
    files: dict[str, Digest]
    windows: int = Field(ge=0)
    size_bytes: int = Field(ge=0)


class BlobOut(Lenient):
    """The answer to an upload."""

    digest: Digest
    size_bytes: int
