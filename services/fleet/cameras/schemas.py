"""What requests on cameras may ask beside what devices and the SDK share."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Query

from shared.contracts.base import Name, Strict, Timestamp
from shared.contracts.cameras import ControllerId, HealthState, Selector
from shared.contracts.rollouts import PackageRef


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFilters:
    """Which cameras of the list: all that are given must hold."""

    selector: Annotated[Selector | None, Query(description="labels, as `site=berlin,model in (a, b),!old`")] = None
    group: Annotated[Name | None, Query()] = None
    controller_id: Annotated[ControllerId | None, Query()] = None
    q: Annotated[
        str | None, Query(min_length=1, max_length=128, pattern=r"^[^\x00]*$", description="the controller id begins so")
    ] = None
    health: Annotated[HealthState | None, Query()] = None
    package: Annotated[PackageRef | None, Query(description="that they run, as picosam2/3")] = None
    seen_before: Annotated[Timestamp | None, Query(description="not heard of since, or never")] = None
    unseen_s: Annotated[float | None, Query(ge=0, le=3e9, description="not heard of for so long, or never")] = None


class NoBody(Strict):
    """Stands for the body of a request that has none."""
