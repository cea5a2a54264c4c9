"""A job that fits a network, whatever it learns from: windows, fit, evaluate, pictures, export, publish."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TypeAlias

from shared.contracts.training import FittingSpec
from shared.kit.tracking import RunSink
from shared.picosam import checkpoint, parallel
from shared.picosam.checkpoint import CheckpointError
from shared.picosam.fit import Ending, fit
from shared.picosam.loader import Answers, Pool
from shared.picosam.objectives import Objective
from shared.picosam.placement import place
from shared.picosam.state import TrainState, new_state
from workers.harness.checkpoints import Checkpoints
from workers.harness.context import Finished, JobContext, Stopped
from workers.harness.fitting import lineage
from workers.harness.fitting.hooks import FittingHooks, History, NoHooks
from workers.harness.fitting.inputs import Windows, initial_model, open_windows
from workers.harness.fitting.outcome import completed
from workers.harness.fitting.scoring import Scorer
from workers.harness.tracked import tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What the network learns from."""

    objective: Objective
    answers: Answers | None = None
    """A teacher's, to the training windows of all datasets, in the spec's order."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Known before the first step, under the names of metrics: they go into the run and into the job's result."""


MakeCourse: TypeAlias = Callable[[Windows, ExitStack], Course]
"""Makes it ready on every rank; what it opens on the stack stays open until the job ends."""


def run_fitting(
    ctx: JobContext, spec: FittingSpec, make_course: MakeCourse, *, tags: Mapping[str, str] | None = None
) -> Finished:
    """Fit, on all ranks; rank 0 also scores, draws and publishes. ``tags``: of this kind of job, for run and version."""
    made_of = {**lineage.made_of(ctx, spec), **(tags or {})}
    with ExitStack() as stack:
        if ctx.rank > 0:
            windows = open_windows(ctx, spec, stack)
            return _follow(ctx, spec, windows, make_course(windows, stack))
        sink = stack.enter_context(tracked(ctx, lineage.run_tags(ctx, made_of)))
        lineage.describe(ctx, spec, sink)
        windows = open_windows(ctx, spec, stack)
        return _lead(ctx, spec, windows, make_course(windows, stack), sink, made_of)


def _follow(ctx: JobContext, spec: FittingSpec, windows: Windows, course: Course) -> Finished:
    state = _state(ctx, spec, Checkpoints(ctx))
    _fit(state, spec, windows, course, NoHooks())
    return Finished()


def _lead(
    ctx: JobContext, spec: FittingSpec, windows: Windows, course: Course, sink: RunSink, made_of: Mapping[str, str]
) -> Finished:
    scorer = Scorer(ctx, windows.validation, place(spec.compute), spec.recipe.window.label)
    history = History(ctx.folder / "history.json")
    sink.metrics(dict(course.figures), step=0)
    with Checkpoints(ctx) as checkpoints:
        state = _state(ctx, spec, checkpoints)
        history.load(state.step)
        hooks = FittingHooks(ctx, spec, sink, scorer, checkpoints, history)
        ending = _fit(state, spec, windows, course, hooks)
        if ending is Ending.STOPPED:
            hooks.on_checkpoint(state)
            raise Stopped
    ctx.log(f"{ctx.claim.kind.value} ended after step {state.step} ({ending})")
    return completed(ctx, spec, state, hooks, made_of, course.figures)


def _fit(state: TrainState, spec: FittingSpec, windows: Windows, course: Course, hooks: FittingHooks | NoHooks) -> Ending:
    data = Pool(windows.train)
    with parallel.process_group():
        return fit(state, spec.recipe, spec.compute, data, hooks, objective=course.objective, answers=course.answers)


def _state(ctx: JobContext, spec: FittingSpec, checkpoints: Checkpoints) -> TrainState:
    """The newest checkpoint that can be read, else the state before the first step."""
    start = initial_model(ctx, spec)
    for path in checkpoints.candidates():
        state = new_state(spec.recipe, spec.compute, start)
        try:
            checkpoint.restore(state, spec.recipe, path)
        except CheckpointError as exc:
            ctx.log(f"{exc}; an older one is tried", level="warning")
            continue
        if ctx.rank == 0:
            ctx.log(f"resumed at step {state.step} of {spec.recipe.steps}")
        return state
    return new_state(spec.recipe, spec.compute, start)
