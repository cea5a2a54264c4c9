"""Deployments: names under which model versions are in use."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Lenient, Name, Strict, Timestamp

ModelReference = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(/[1-9][0-9]{0,8}|@[A-Za-z0-9._-]{1,128})$")]
"""name/version or name@alias, as picosam2/3 or picosam2.int8@champion."""

STICKY_HEADER: Final = "X-Picofleet-Key"
"""Requests with the same value get the same version of a deployment's."""


class Engine(StrEnum):
    """What computes a network."""

    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"


class Traffic(Strict):
    """One version's part of a deployment."""

    model: ModelReference
    percent: int = Field(default=100, ge=0, le=100, description="of the requests; all parts add up to 100")
    engine: Engine = Engine.ONNXRUNTIME


class Shadow(Strict):
    """A version that is asked as well, after the answer has left, and only compared."""

    model: ModelReference
    percent: int = Field(default=100, ge=1, le=100, description="of the deployment's requests; fewer where the machine is busy")
    engine: Engine = Engine.ONNXRUNTIME


class Batching(Strict):
    """Windows of several requests in one run. Off by default: float networks are slower that way on CPUs."""

    max_batch: int = Field(default=0, ge=0, le=64, description="windows per run; 0 and 1: no batches over requests")
    max_delay_ms: float = Field(default=0, ge=0, le=1000, description="a run waits so long for more windows; 0: never")


class FeedbackSettings(Strict):
    """Whether corrected masks are kept. Off by default: images of people may be in them."""

    enabled: bool = False
    retention_days: int = Field(default=30, ge=1, le=3650)
    max_items: int = Field(default=10_000, ge=1, le=1_000_000, description="the oldest go first")


class CpuTarget(Strict):
    """`PUT /v1/deployments/{name}` with target cpu: served by the inference service."""

    target: Literal["cpu"] = "cpu"
    versions: list[Traffic] = Field(min_length=1, max_length=8)
    shadow: Shadow | None = None
    follow_aliases: bool = Field(default=False, description="when an alias named here moves, the deployment follows by itself")
    parallel: int | None = Field(
        default=None, ge=1, le=256, description="networks run at the same time, per replica; null: one per processor"
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, description="of each run; null: 1, and all processors for a request that is alone"
    )
    batching: Batching = Batching()
    max_queue: int = Field(default=128, ge=1, le=10_000, description="requests waiting per replica; more get 429")
    deadline_ms: int = Field(default=10_000, ge=1, le=600_000, description="a request that waited longer gets 504 unanswered")
    feedback: FeedbackSettings = FeedbackSettings()

    @model_validator(mode="after")
    def _parts_add_up(self) -> "CpuTarget":
        if sum(part.percent for part in self.versions) != 100:
            raise ValueError(f"the versions' percent add up to {sum(part.percent for part in self.versions)}, not 100")
        if len({(part.model, part.engine) for part in self.versions}) < len(self.versions):
            raise ValueError("a version is named twice; give it one part with all of its percent")
        return self


DeploymentIn = CpuTarget
"""The body of `PUT /v1/deployments/{name}`. Targets are told apart by ``target``."""


class ResolvedPart(Lenient):
    """A version in use."""

    model: str = Field(description="name/version")
    asked: str = Field(description="as it was named: name/version or name@alias")
    percent: int = 0
    engine: Engine = Engine.ONNXRUNTIME


class RevisionOut(Lenient):
    """One generation of a deployment."""

    generation: int
    spec: CpuTarget
    versions: list[ResolvedPart]
    shadow: ResolvedPart | None = None
    created_at: Timestamp
    created_by: str
    reason: str = Field(description="put, rollback to 3, alias picosam2@champion moved to 5")


class ReplicaState(StrEnum):
    """Of a deployment on one replica."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    """The newest generation cannot be served; the one before goes on, if there was one."""


class ReplicaOut(Lenient):
    """What one replica of the inference service does for a deployment."""

    replica: str
    state: ReplicaState
    generation: int | None = Field(default=None, description="that it serves; null: none yet")
    error: str | None = None
    seen_at: Timestamp


class ShadowReport(Lenient):
    """How the shadow's masks agree with those that were answered, since the generation began."""

    model: str
    compared: int
    skipped: int = Field(default=0, description="left out because the machine was busy")
    failed: int = 0
    mask_iou: float | None = Field(default=None, description="mean over prompts")
    agreeing: float | None = Field(default=None, description="share of prompts with an IoU of 0.9 or more")


class DeploymentOut(Lenient):
    """A deployment as it should be, and what the replicas make of it."""

    name: Name
    generation: int
    spec: CpuTarget
    versions: list[ResolvedPart]
    shadow: ResolvedPart | None = None
    created_at: Timestamp
    updated_at: Timestamp
    updated_by: str
    reason: str
    replicas: list[ReplicaOut] = Field(default_factory=list)
    ready: bool = Field(description="every living replica serves this generation")
    shadow_report: ShadowReport | None = Field(default=None, description="of the replica that answers")


class RollbackIn(Strict):
    """`POST /v1/deployments/{name}/rollback`."""

    generation: int | None = Field(default=None, ge=1, le=2**31 - 1, description="null: the one before")
