"""Deployments: names under which model versions are in use, on CPUs or on the cameras of a group."""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from shared.contracts.base import NAME_PATTERN, Lenient, Name, Strict, Timestamp
from shared.contracts.rollouts import (
    DEFAULT_PHASES,
    Counts,
    HealthCriteria,
    OnFailure,
    PackageRef,
    PhaseIn,
    PhaseOut,
    RateLimit,
    RolloutIn,
    RolloutState,
    check_phases,
)

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


FLEET: Final = "fleet:"
"""Before a group's name: the target of deployments that the fleet service carries out."""

FleetGroup = Annotated[str, StringConstraints(pattern=f"^{FLEET}{NAME_PATTERN.removeprefix('^')}")]


class FleetTarget(Strict):
    """`PUT /v1/deployments/{name}` with target fleet:GROUP: a package for cameras, brought to them by a rollout."""

    target: FleetGroup
    package: PackageRef
    phases: list[PhaseIn] = Field(default=DEFAULT_PHASES, min_length=1, max_length=20)
    on_failure: OnFailure = OnFailure.ROLL_BACK
    rate: RateLimit = RateLimit()
    health: HealthCriteria = HealthCriteria()
    deadline_s: float = Field(
        default=7 * 86_400,
        gt=0,
        le=366 * 86_400,
        description="from a camera's turn on; then it is expired and not waited for",
    )
    priority: int = Field(default=50, ge=0, le=100, description="of two rollouts that want a camera, the higher one gets it")
    late_joiners: bool = Field(default=True, description="cameras that come to the group while it runs take part")

    @model_validator(mode="after")
    def _phases_rise(self) -> Self:
        check_phases(self.phases)
        return self

    @property
    def group(self) -> str:
        """Whose cameras get the package."""
        return self.target.removeprefix(FLEET)

    def rollout(self, name: str) -> RolloutIn:
        """The rollout that carries it out: a draft."""
        return RolloutIn(name=name, group=self.group, **{key: getattr(self, key) for key in _OF_ROLLOUTS})


_OF_ROLLOUTS: Final = FleetTarget.model_fields.keys() - {"target"}


def _kind_of_target(spec: Any) -> str:
    target = spec.get("target") if isinstance(spec, dict) else getattr(spec, "target", None)
    return "fleet" if isinstance(target, str) and target.startswith(FLEET) else "cpu"


DeploymentIn: TypeAlias = Annotated[
    Annotated[CpuTarget, Tag("cpu")] | Annotated[FleetTarget, Tag("fleet")], Discriminator(_kind_of_target)
]
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
    spec: DeploymentIn
    versions: list[ResolvedPart] = Field(description="none on a fleet: there the package says it")
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


class DeploymentRollout(Lenient):
    """How the fleet service carries out the newest generation of a deployment on fleet:GROUP."""

    id: str | None = Field(default=None, description="null: not made yet")
    returns: bool = Field(default=False, description="the rollout is the one before's, which is rolled back")
    begun: bool = Field(default=False, description="the fleet service was told; the rest is its work")
    error: str | None = Field(default=None, description="why it has not begun yet; it is tried again")
    state: RolloutState | None = Field(default=None, description="null: unknown, for `reason`")
    reason: str = Field(default="", description="why it is where it is, or why that is unknown")
    cameras: int = 0
    counts: Counts = Field(default_factory=dict)
    restores: Counts = Field(default_factory=dict, description="restore actions by state")
    phases: list[PhaseOut] = Field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """All cameras have what the deployment wants for them."""
        return self.begun and self.state is (RolloutState.ROLLED_BACK if self.returns else RolloutState.FINISHED)

    @property
    def has_ended_otherwise(self) -> bool:
        """It is over, and not as the deployment wants it."""
        return self.begun and self.state is not None and self.state.is_final and not self.is_done


class DeploymentOut(Lenient):
    """A deployment as it should be, and what the replicas or the cameras make of it."""

    name: Name
    generation: int
    spec: DeploymentIn
    versions: list[ResolvedPart] = Field(description="none on a fleet: there the package says it")
    shadow: ResolvedPart | None = None
    created_at: Timestamp
    updated_at: Timestamp
    updated_by: str
    reason: str
    replicas: list[ReplicaOut] = Field(default_factory=list, description="of the inference service; none for a fleet")
    rollout: DeploymentRollout | None = Field(default=None, description="of a fleet")
    ready: bool = Field(description="every living replica serves this generation; on a fleet: its rollout is finished")
    shadow_report: ShadowReport | None = Field(default=None, description="of the replica that answers")


class RollbackIn(Strict):
    """`POST /v1/deployments/{name}/rollback`."""

    generation: int | None = Field(default=None, ge=1, le=2**31 - 1, description="null: the one before")
