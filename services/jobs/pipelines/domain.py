"""The states of a pipeline and its steps, and every allowed move between them. Pure: no clock, no database, no jobs.

step:      waiting -> running -> succeeded | failed | cancelled
           waiting -> skipped      (a step that it builds on did not succeed)
           waiting -> failed       (it could not be submitted)
           waiting -> cancelled    (the pipeline was)
pipeline:  running -> succeeded | failed
              `-----> cancelling -> cancelled
           a retry leads from each end back to running, and from each final step state to waiting
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Final

from shared.contracts.pipelines import PipelineState, StepState

_SPOILT: Final = frozenset({StepState.FAILED, StepState.SKIPPED, StepState.CANCELLED})
"""A step that builds on one of these cannot run."""


class IllegalMove(Exception):
    """The state machine has no such move; ``state`` is where the pipeline or the step stands."""

    def __init__(self, state: PipelineState | StepState, wanted: str) -> None:
        super().__init__(f"what is {state} cannot {wanted}")
        self.state = state


class Cycle(ValueError):
    """Steps that wait for each other: ``names`` in a circle, the first repeated at the end."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(" -> ".join(names))
        self.names = names


def ordered(after: Mapping[str, Iterable[str]]) -> list[str]:
    """The steps in an order in which they could run: as they are given, where that does. Cycle."""
    try:
        # A step is taken as early as all before it are done; among those that could be next, the one given first.
        sorter = TopologicalSorter(after)
        sorter.prepare()
    except CycleError as exc:
        raise Cycle(list(reversed(exc.args[1]))) from exc
    given = {name: at for at, name in enumerate(after)}
    ready, done = list(sorter.get_ready()), []
    while ready:
        ready.sort(key=given.__getitem__)
        done.append(ready.pop(0))
        sorter.done(done[-1])
        ready += sorter.get_ready()
    return done


@dataclass(frozen=True, slots=True)
class Step:
    """A step as the rules see it."""

    after: frozenset[str] = frozenset()
    state: StepState = StepState.WAITING


@dataclass(frozen=True, slots=True)
class Standing:
    """All that the rules know of a pipeline. Every rule returns the standing that follows."""

    steps: Mapping[str, Step]
    state: PipelineState = PipelineState.RUNNING

    def ready(self) -> list[str]:
        """Steps that can start now."""
        if self.state is not PipelineState.RUNNING:
            return []
        return [name for name, step in self.steps.items() if step.state is StepState.WAITING and self._all_done(step)]

    def _all_done(self, step: Step) -> bool:
        return all(self.steps[name].state is StepState.SUCCEEDED for name in step.after)

    def started(self, name: str) -> "Standing":
        """The step has its job."""
        if name not in self.ready():
            raise IllegalMove(self.steps[name].state, "start")
        return self._with({name: StepState.RUNNING})

    def refused(self, name: str) -> "Standing":
        """The step could not be given a job."""
        if name not in self.ready():
            raise IllegalMove(self.steps[name].state, "be refused")
        return self._with({name: StepState.FAILED}).settled()

    def ended(self, name: str, outcome: StepState) -> "Standing":
        """The step's job is over, one way or the other."""
        if self.steps[name].state is not StepState.RUNNING:
            raise IllegalMove(self.steps[name].state, "end")
        if outcome not in {StepState.SUCCEEDED, StepState.FAILED, StepState.CANCELLED}:
            raise ValueError(f"{outcome} is no end of a job")
        return self._with({name: outcome}).settled()

    def cancelled(self) -> "Standing":
        """The user wants no more: what waits is given up, what runs is to be stopped. Again changes nothing."""
        if self.state in {PipelineState.CANCELLING, PipelineState.CANCELLED}:
            return self
        if self.state is not PipelineState.RUNNING:
            raise IllegalMove(self.state, "be cancelled")
        waiting = {name: StepState.CANCELLED for name, step in self.steps.items() if step.state is StepState.WAITING}
        return replace(self._with(waiting), state=PipelineState.CANCELLING).settled()

    def again(self, from_step: str | None = None) -> list[str]:
        """What a retry would run: all that has not succeeded, and ``from_step`` with all that builds on it."""
        chosen = {name for name, step in self.steps.items() if step.state is not StepState.SUCCEEDED}
        if from_step is not None:
            chosen.add(from_step)
        for name in ordered({name: step.after for name, step in self.steps.items()}):
            if self.steps[name].after & chosen:
                chosen.add(name)
        return [name for name in self.steps if name in chosen]

    def retried(self, from_step: str | None = None) -> "Standing":
        """Run once more what ``again`` names; what succeeded before it is kept."""
        chosen = self.again(from_step)
        if not self.state.is_final or (self.state is PipelineState.SUCCEEDED and not chosen):
            raise IllegalMove(self.state, "be retried")
        return replace(self._with(dict.fromkeys(chosen, StepState.WAITING)), state=PipelineState.RUNNING).settled()

    def settled(self) -> "Standing":
        """What follows of itself: steps that can never run are skipped, and when none is left the pipeline ends."""
        standing = self
        while spoilt := standing._spoilt():
            standing = standing._with(dict.fromkeys(spoilt, StepState.SKIPPED))
        if self.state.is_final or not all(step.state.is_final for step in standing.steps.values()):
            return standing
        return replace(standing, state=standing._end())

    def _spoilt(self) -> list[str]:
        waiting = [(name, step) for name, step in self.steps.items() if step.state is StepState.WAITING]
        return [name for name, step in waiting if any(self.steps[before].state in _SPOILT for before in step.after)]

    def _end(self) -> PipelineState:
        if self.state is PipelineState.CANCELLING:
            return PipelineState.CANCELLED
        succeeded = all(step.state is StepState.SUCCEEDED for step in self.steps.values())
        return PipelineState.SUCCEEDED if succeeded else PipelineState.FAILED

    def _with(self, states: Mapping[str, StepState]) -> "Standing":
        changed = {name: replace(step, state=states.get(name, step.state)) for name, step in self.steps.items()}
        return replace(self, steps=changed)
