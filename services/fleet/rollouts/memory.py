"""What a rollout remembers between ticks, beside its rows: the column ``budget``."""

from datetime import datetime

from pydantic import Field

from services.fleet.rollouts.rate import Allowance
from shared.contracts.base import Lenient


class Memory(Lenient):
    """All of it may be missing: of a rollout that was never started."""

    bounds: list[int] | None = None
    """The highest rank of each phase; None until the rollout's cameras were counted."""
    cursor: str = ""
    """Cameras with an id up to this one have their action."""
    looked_at: datetime | None = None
    """When cameras were last looked for that came or left."""
    rate: int | None = None
    credit: int = 0
    earned_at: datetime | None = None
    succeeded: int = 0
    stopped: bool = False
    """The rollout paused by itself."""
    accepted: dict[int, int] = Field(default_factory=dict)
    """By phase: failures for which it had stopped when a person let it go on."""
    stopped_by_masks: int | None = None
    """The phase whose masks had stopped it."""
    masks_accepted: list[int] = Field(default_factory=list)
    """Phases whose masks had stopped it when a person let it go on."""
    settled: dict[int, int] = Field(default_factory=dict)
    """By phase that is done: for how many cameras that run the package it is written down as their last good one."""
    settled_at: datetime | None = None
    retry_through: int | None = None
    """Actions up to this id that came to nothing are tried again."""
    to_the_last: bool = False
    """Of a retry: every camera is waited for."""

    @property
    def allowance(self) -> Allowance | None:
        """The rate limit's part of it; None before the first tick."""
        if self.rate is None:
            return None
        return Allowance(rate=self.rate, credit=self.credit, at=self.earned_at, succeeded=self.succeeded)

    def with_allowance(self, kept: Allowance) -> "Memory":
        """The same with another ``allowance``."""
        values = {"rate": kept.rate, "credit": kept.credit, "earned_at": kept.at, "succeeded": kept.succeeded}
        return self.model_copy(update=values)

    def let_go_on(self, failures: dict[int, int]) -> "Memory":
        """The same after a person accepted what had stopped it: these failures by phase, or a phase's masks as well."""
        masks = [*self.masks_accepted, *([] if self.stopped_by_masks is None else [self.stopped_by_masks])]
        values = {"accepted": failures, "stopped": False, "stopped_by_masks": None, "masks_accepted": masks}
        return self.model_copy(update=values)
