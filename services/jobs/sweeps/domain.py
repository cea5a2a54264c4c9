"""Rules of sweeps: when a trial may start, when it is over, which is the best. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from shared.contracts.pipelines import Objective, PipelineState, TrialState

T = TypeVar("T")


class IllegalMove(Exception):
    """The state machine has no such move; ``state`` is where the sweep stands."""

    def __init__(self, state: PipelineState, wanted: str) -> None:
        super().__init__(f"a sweep that is {state} cannot {wanted}")
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that the rules know of a sweep. ``trials``: by number, as many as have been made."""

    total: int
    parallel: int
    max_failed: int | None = None
    state: PipelineState = PipelineState.RUNNING
    trials: tuple[TrialState, ...] = ()

    def __post_init__(self) -> None:
        if len(self.trials) > self.total:
            raise ValueError(f"{len(self.trials)} trials of {self.total}")

    @property
    def given_up(self) -> bool:
        """True if more trials have failed than the user bears."""
        return self.max_failed is not None and self.trials.count(TrialState.FAILED) > self.max_failed

    @property
    def room(self) -> int:
        """How many trials can start now."""
        if self.state is not PipelineState.RUNNING or self.given_up:
            return 0
        return max(0, min(self.parallel - self.trials.count(TrialState.RUNNING), self.total - len(self.trials)))

    def begun(self, state: TrialState = TrialState.RUNNING) -> "Standing":
        """One more trial, which may have failed before it could run."""
        if self.room == 0:
            raise IllegalMove(self.state, "begin a trial")
        return replace(self, trials=(*self.trials, state)).settled()

    def ended(self, number: int, outcome: TrialState) -> "Standing":
        """A trial is over."""
        if self.trials[number] is not TrialState.RUNNING or outcome is TrialState.RUNNING:
            raise IllegalMove(self.state, f"end trial {number} as {outcome}")
        return replace(self, trials=(*self.trials[:number], outcome, *self.trials[number + 1 :])).settled()

    def cancelled(self) -> "Standing":
        """The user wants no more. Again changes nothing."""
        if self.state in {PipelineState.CANCELLING, PipelineState.CANCELLED}:
            return self
        if self.state.is_final:
            raise IllegalMove(self.state, "be cancelled")
        return replace(self, state=PipelineState.CANCELLING).settled()

    def settled(self) -> "Standing":
        """Ended, if no trial runs and none will start."""
        if self.state.is_final or TrialState.RUNNING in self.trials or self.room:
            return self
        return replace(self, state=self._end())

    def _end(self) -> PipelineState:
        if self.state is PipelineState.CANCELLING:
            return PipelineState.CANCELLED
        if self.given_up or TrialState.SUCCEEDED not in self.trials:
            return PipelineState.FAILED
        return PipelineState.SUCCEEDED


def best(trials: Sequence[T], figure_of: Callable[[T], float | None], objective: Objective) -> T | None:
    """The trial with the best figure, of equals the first; None if none has one."""
    sign = 1 if objective.direction == "maximize" else -1
    rated = [(figure, trial) for trial in trials if (figure := figure_of(trial)) is not None]
    return max(rated, key=lambda each: sign * each[0])[1] if rated else None
