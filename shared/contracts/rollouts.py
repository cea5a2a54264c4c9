"""Packages of the fleet, rollouts, and each camera's part in them."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import Field, StringConstraints, model_validator

from shared.contracts.base import Lenient, Name, Strict, Timestamp
from shared.contracts.cameras import Selector

PackageRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""line/release of a package, as picosam2/3."""


class PackageImport(Strict):
    """`POST /v1/fleet/packages`: fetch a signed package from the jobs service, and verify it. One of three names it."""

    package: PackageRef | None = Field(default=None, description="line/release")
    job: str | None = Field(default=None, max_length=64, description="id of the packaging job that made it")
    model: str | None = Field(default=None, max_length=160, description="the model version that was packaged, as picosam2/2")

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if sum(each is not None for each in (self.package, self.job, self.model)) != 1:
            raise ValueError("give one of package, job and model")
        return self


class FleetPackageKind(StrEnum):
    """What is inside."""

    MODEL = "model"
    """A signed package of ours."""
    SOFTWARE = "software"
    """Anything else that an update client installs, made over hawkBit's management API."""


class FleetFileOut(Lenient):
    """What a camera downloads."""

    part: str
    filename: str
    format: str = Field(description="which cameras get it: package, swu, or any")
    size_bytes: int
    sha256: str
    sha1: str
    md5: str


class FleetPackageOut(Lenient):
    """A package that can be rolled out."""

    id: str
    ref: str = Field(description="as picosam2/3")
    kind: FleetPackageKind
    digest: str | None = Field(default=None, description="of its manifest")
    release: int | None = None
    model: str | None = Field(default=None, description="the version inside, as picosam2.imx500/1")
    key_id: str | None = Field(default=None, description="that signed it")
    files: list[FleetFileOut]
    imported_at: Timestamp
    imported_by: str
    deleted_at: Timestamp | None = None


class OnFailure(StrEnum):
    """What a phase does whose failure share is above its limit."""

    PAUSE = "pause"
    ABORT = "abort"
    """No further camera is touched; those that have the package keep it."""
    ROLL_BACK = "roll_back"
    """Every touched camera returns to its last good package."""


class QualityGate(Strict):
    """Masks that cameras made against those of the package's reference model, on sampled windows."""

    min_agreement: float = Field(default=0.9, ge=0, le=1, description="mean IoU")
    min_samples: int = Field(default=20, ge=1, le=100_000)


class PhaseIn(Strict):
    """A slice of the rollout. Counts and shares include the phases before it."""

    percent: float | None = Field(default=None, gt=0, le=100)
    count: int | None = Field(default=None, ge=1, le=10_000_000)
    approval: bool = Field(default=False, description="a person must approve before it begins")
    success_percent: int = Field(default=95, ge=0, le=100, description="of its cameras that must run the package")
    soak_s: float = Field(default=600, ge=0, le=30 * 86_400, description="so long it must hold before the next phase")
    failure_percent: int = Field(default=10, ge=0, le=100, description="failed / (failed + succeeded) above this is too much")
    failure_min: int = Field(default=1, ge=1, le=1_000_000, description="failures before the share is looked at")
    quality: QualityGate | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.percent is None) == (self.count is None):
            raise ValueError("give percent or count")
        return self


def check_phases(phases: Sequence[PhaseIn]) -> None:
    """ValueError unless each phase is larger than the one before, whatever the size of the fleet."""
    kinds = {phase.percent is None for phase in phases}
    if len(kinds) > 1 and phases[-1].percent != 100:
        raise ValueError("phases mix percent and count; then the last must be percent 100")
    for what in ("percent", "count"):
        sizes = [size for phase in phases if (size := getattr(phase, what)) is not None]
        if sizes != sorted(set(sizes)):
            raise ValueError(f"phases include those before them, so their {what} must rise from one to the next")


DEFAULT_PHASES: Final = [PhaseIn(percent=5), PhaseIn(percent=25), PhaseIn(percent=100)]


class RateLimit(Strict):
    """How fast cameras are let in: `per_minute`, times `growth` each time that many have succeeded at the present rate."""

    per_minute: int = Field(default=1000, ge=1, le=1_000_000)
    growth: float = Field(default=1, ge=1, le=10)
    max_per_minute: int = Field(default=1_000_000, ge=1, le=1_000_000)


class HealthCriteria(Strict):
    """What makes a camera that installed the package a failure all the same, while its phase soaks. null: not looked at."""

    max_missing_frame_percent: float | None = Field(default=5, ge=0, le=100)
    max_dnn_ms: float | None = Field(default=None, gt=0, le=60_000)
    max_restarts: int | None = Field(default=3, ge=0, le=1000)
    golden: bool = Field(default=True, description="golden frames that fail are a failure")


class RolloutIn(Strict):
    """`POST /v1/fleet/rollouts`. Brings a package to the cameras of a group, of a selector, or to those named."""

    name: Name
    package: PackageRef
    group: Name | None = None
    selector: Selector | None = None
    cameras: list[str] | None = Field(default=None, min_length=1, max_length=10_000, description="ids")
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
    late_joiners: bool = Field(default=True, description="cameras that come to the group while it runs take part")
    priority: int = Field(default=50, ge=0, le=100, description="of two rollouts that want a camera, the higher one gets it")
    approval: bool = Field(default=False, description="a person must approve before it can start")
    start: bool = Field(default=False, description="start at once")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(each is not None for each in (self.group, self.selector, self.cameras)) != 1:
            raise ValueError("give one of group, selector and cameras")
        check_phases(self.phases)
        if self.approval and self.start:
            raise ValueError("a rollout that needs approval cannot start at once")
        return self


class RolloutState(StrEnum):
    """draft -> waiting_for_approval -> running <-> paused -> finished | aborted | rolling_back -> rolled_back."""

    DRAFT = "draft"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    ABORTED = "aborted"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"

    @property
    def is_final(self) -> bool:
        """Nothing happens any more; a finished or aborted one can still be rolled back by hand."""
        return self in {RolloutState.FINISHED, RolloutState.ABORTED, RolloutState.ROLLED_BACK}


class PhaseState(StrEnum):
    """Of a phase."""

    WAITING = "waiting"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    RUNNING = "running"
    SOAKING = "soaking"
    """Enough cameras run the package; they must go on doing so."""
    DONE = "done"


class ActionKind(StrEnum):
    """What an action is for."""

    INSTALL = "install"
    RESTORE = "restore"
    """Back to the last good package, or to none."""


class ActionState(StrEnum):
    """A camera's part in a rollout."""

    PENDING = "pending"
    OFFERED = "offered"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    INSTALLING = "installing"
    SELF_TESTING = "self_testing"
    RUNNING = "running"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    RESTORING = "restoring"
    RESTORED = "restored"


class ActionStep(Lenient):
    """A line of an action's history."""

    at: Timestamp
    state: ActionState
    message: str = ""
    detail: dict[str, Any] = Field(default_factory=dict)


class ActionOut(Lenient):
    """One camera's part in one rollout."""

    id: int
    kind: ActionKind
    camera: str
    controller_id: str
    rollout: str | None = None
    phase: int | None = Field(default=None, description="counted from 1")
    package: str | None = Field(default=None, description="null: none, where a camera without one returns")
    state: ActionState
    message: str = ""
    created_at: Timestamp
    released_at: Timestamp | None = Field(default=None, description="its turn came")
    deadline_at: Timestamp | None = None
    closed_at: Timestamp | None = None
    cancel_requested_at: Timestamp | None = None
    restores: int | None = Field(default=None, description="the action that this one takes back")
    history: list[ActionStep] | None = Field(default=None, description="oldest first; in the answer for one action only")


Counts = dict[ActionState, int]


class PhaseOut(Lenient):
    """A phase and how its cameras stand."""

    number: int = Field(description="counted from 1")
    state: PhaseState
    spec: PhaseIn
    cameras: int
    counts: Counts = Field(description="install actions by state; they add up to `cameras`")
    agreement: float | None = Field(default=None, description="mean IoU of sampled masks with the reference model's")
    samples: int = 0
    started_at: Timestamp | None = None
    soaking_since: Timestamp | None = None
    ended_at: Timestamp | None = None


class RolloutOut(Lenient):
    """A rollout as it stands."""

    id: str
    name: str
    package: str
    spec: RolloutIn
    state: RolloutState
    reason: str = Field(default="", description="why it is where it is")
    cameras: int = 0
    counts: Counts = Field(default_factory=dict)
    restores: Counts = Field(default_factory=dict, description="restore actions by state")
    phases: list[PhaseOut]
    created_at: Timestamp
    created_by: str
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None


class PreviewPhase(Lenient):
    """Who would be hit by a phase."""

    number: int
    cameras: int
    examples: list[str] = Field(description="controller ids, a few")


class PreviewOut(Lenient):
    """`GET /v1/fleet/rollouts/{id}/preview`: which cameras a rollout would touch if it started now."""

    cameras: int
    already: int = Field(description="that run the package; they count as succeeded")
    busy: int = Field(description="that are at another rollout's package now")
    phases: list[PreviewPhase]


class ReasonIn(Strict):
    """The body of pause, abort, approve, resume, retry and rollback."""

    reason: str = Field(default="", max_length=500)


class CloneIn(Strict):
    """`POST /v1/fleet/rollouts/{id}/clone`."""

    name: Name
    package: PackageRef | None = Field(default=None, description="null: the same")


class FleetEvent(Lenient):
    """`GET /v1/fleet/events`; those with an actor are the audit log."""

    seq: int
    at: Timestamp
    type: str = Field(examples=["rollout.started", "phase.done", "camera.registered"])
    actor: str | None = Field(default=None, description="the key's name; null: the service itself")
    rollout: str | None = None
    camera: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)
