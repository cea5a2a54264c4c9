"""Rules of deployments, without I/O."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol, TypeAlias

from shared.contracts.deployments import CpuTarget, FleetTarget, ReplicaState, ResolvedPart

FOLLOWER: Final = "picofleet"
"""Who makes the generations that followed aliases lead to."""

_FIRST_PAUSE_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 60.0
_REASON_LIMIT: Final = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a generation on CPUs consists of."""

    spec: CpuTarget
    versions: tuple[ResolvedPart, ...]
    shadow: ResolvedPart | None

    @property
    def parts(self) -> tuple[ResolvedPart, ...]:
        """All versions that must be loaded."""
        return self.versions if self.shadow is None else (*self.versions, self.shadow)

    def pinned(self) -> "Plan":
        """The same, following no alias: what was rolled back would else be rolled forward within seconds."""
        spec = self.spec.model_copy(update={"follow_aliases": False})
        return Plan(spec=spec, versions=self.versions, shadow=self.shadow)

    def columns(self) -> dict[str, Any]:
        """As the table has it."""
        return {
            "spec": self.spec.model_dump(mode="json"),
            "versions": [part.model_dump(mode="json") for part in self.versions],
            "shadow": self.shadow.model_dump(mode="json") if self.shadow else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What a generation on a fleet consists of."""

    spec: FleetTarget

    def pinned(self) -> "FleetPlan":
        """The same: a package follows nothing."""
        return self

    def columns(self) -> dict[str, Any]:
        """As the table has it."""
        return {"spec": self.spec.model_dump(mode="json"), "versions": [], "shadow": None}


AnyPlan: TypeAlias = Plan | FleetPlan


class RolloutStep(StrEnum):
    """How far a generation's rollout is, as this service has to do with it."""

    MAKING = "making"
    BEGUN = "begun"
    """The fleet service has it: the rest is its work."""
    OVER = "over"
    """No longer wanted, and nothing of it goes on."""


class Numbered(Protocol):
    """A generation of a deployment."""

    @property
    def id(self) -> str:
        """Of the deployment."""

    @property
    def name(self) -> str:
        """Of the deployment."""

    @property
    def generation(self) -> int:
        """Its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A deployment on CPUs as the database has it."""

    id: str
    name: str
    generation: int
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFleet:
    """A deployment on a fleet as the database has it."""

    id: str
    name: str
    generation: int
    spec: FleetTarget


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What one process makes of a deployment."""

    target: int
    """The generation that ``state`` and ``error`` are about."""
    state: ReplicaState
    generation: int | None
    """That it serves; None: nothing yet."""
    error: str | None = None


def moved_reason(before: Plan, after: Plan) -> str:
    """Which aliases lead elsewhere: alias picosam2@champion moved to 5."""
    pairs = zip(before.parts, after.parts, strict=True)
    moved = {new.asked: new.model.rpartition("/")[2] for old, new in pairs if new.model != old.model}
    return "; ".join(f"alias {asked} moved to {version}" for asked, version in moved.items())[:_REASON_LIMIT]


def follows(spec: CpuTarget) -> bool:
    """Some alias is to be followed."""
    named = [part.model for part in spec.versions] + ([spec.shadow.model] if spec.shadow else [])
    return spec.follow_aliases and any("@" in reference for reference in named)


def takes_back(wanted: FleetTarget, before: FleetTarget, before_that: FleetTarget) -> bool:
    """Whether a generation wants from the same cameras what they had until the one before came."""
    same_cameras = wanted.target == before.target == before_that.target
    return same_cameras and wanted.package == before_that.package != before.package


def rollout_name(wanted: Numbered) -> str:
    """Of the rollout that carries a generation out: no other has it. A deployment's name with what sets it apart."""
    return f"{wanted.name[:40]}-{wanted.id[-8:]}-{wanted.generation}"


def pause_s(failures: int) -> float:
    """Before the next try, after so many that failed."""
    return float(min(_FIRST_PAUSE_S * 2 ** max(0, failures - 1), _LONGEST_PAUSE_S))


def generation_of(etag: str) -> int | None:
    """Of an If-Match like ``"3"``; None if it is none of ours, so that it matches nothing."""
    match = re.fullmatch(r'"([1-9][0-9]{0,8})"', etag.strip())
    return int(match[1]) if match else None


def etag_of(generation: int) -> str:
    """The ETag of a deployment at this generation."""
    return f'"{generation}"'
