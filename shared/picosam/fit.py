"""The one fitting loop, written out."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor, nn

from shared.contracts.training import Compute, Recipe
from shared.picosam import parallel
from shared.picosam.loader import Answers, Batch, Loader, Windows
from shared.picosam.losses import Losses
from shared.picosam.objectives import FromMasks, Objective
from shared.picosam.placement import threads_for
from shared.picosam.state import Best, TrainState, learning_rate


class Diverged(Exception):
    """The loss or its gradient is no number any more. ``hint`` says what to change."""

    def __init__(self, step: int, what: str, recipe: Recipe) -> None:
        self.step = step
        self.hint = (
            f"Lower recipe.learning_rate (now {recipe.learning_rate:g}) to a third, raise recipe.warmup (now "
            f"{recipe.warmup:g}) or lower recipe.grad_clip_norm (now {recipe.grad_clip_norm:g}); if it happens in the first "
            "steps, look at the initial model's weights."
        )
        super().__init__(f"training diverged at step {step}: {what}")


class Ending(StrEnum):
    """Why the loop came back."""

    FINISHED = "finished"
    STOPPED = "stopped"
    """``hooks.stop_requested()`` said so."""
    EARLY = "early"
    """The score has not risen for ``recipe.early_stop_patience`` evaluations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """One optimiser step; the losses are means over all processes."""

    step: int
    """Steps taken, this one included."""
    loss: float
    parts: Mapping[str, float]
    """What the loss is made of, by the names of the metrics: loss_bce, loss_dice, ..."""
    gradient_norm: float
    """Before clipping."""
    learning_rate: float
    images: int
    """Over all processes."""
    seconds: float
    """From batch to batch, loading included, hooks not."""
    waited_s: float
    """Of these, waiting for data."""


class Hooks(Protocol):
    """What happens round the loop. Process 0 alone calls them, between two steps."""

    def stop_requested(self) -> bool:
        """Asked before every step; True ends the loop."""

    def on_step(self, report: StepReport) -> None:
        """After every step."""

    def on_eval(self, state: TrainState) -> float | None:
        """Every ``recipe.evaluate_every`` steps but the last: evaluate ``state.ema.model`` and return the score that early
        stopping looks at, higher is better; None for no opinion.

        The final evaluation is the caller's, after ``fit`` came back.
        """

    def on_checkpoint(self, state: TrainState) -> None:
        """Every ``recipe.checkpoint_every`` steps and after the last: write ``state`` down."""


def fit(
    state: TrainState,
    recipe: Recipe,
    compute: Compute,
    data: Windows,
    hooks: Hooks,
    *,
    objective: Objective | None = None,
    answers: Answers | None = None,
) -> Ending:
    """Run from ``state.step`` to ``recipe.steps``. Without an ``objective`` the network learns from the masks alone;
    ``answers``: a teacher's, to the windows of ``data``.

    On a CPU the result is a function of state, recipe, data, answers and thread count, bit for bit, however often it was
    interrupted and restored. In a process group (``parallel.process_group``) each process takes its share of every batch;
    BatchNorm then looks at its own share. Raises Diverged before a bad gradient reaches the weights.
    """
    torch.set_num_threads(threads_for(compute))
    learner = _Learner(state, recipe, parallel.replicate(state.model), objective or FromMasks(recipe))
    own = {"first_step": state.step, "rank": parallel.rank(), "world": parallel.world()}
    with Loader(data, recipe, answers=answers, **own) as loader:
        batches = iter(loader)
        while state.step < recipe.steps:
            if parallel.on_first(hooks.stop_requested):
                return Ending.STOPPED
            report = _timed_step(learner, batches, loader)
            parallel.on_first(lambda: hooks.on_step(report))  # noqa: B023 - called at once
            if _is_evaluation_step(state.step, recipe):
                _take_score(state, recipe, parallel.on_first(lambda: hooks.on_eval(state)))
            if state.step % recipe.checkpoint_every == 0 or state.step == recipe.steps:
                parallel.on_first(lambda: hooks.on_checkpoint(state))
            if _has_stalled(state, recipe):
                return Ending.EARLY
    return Ending.FINISHED


@dataclass(frozen=True, slots=True)
class _Learner:
    """What every step needs."""

    state: TrainState
    recipe: Recipe
    network: nn.Module
    """The state's model, wrapped where several processes train it."""
    objective: Objective


def _timed_step(learner: _Learner, batches: Iterator[Batch], loader: Loader) -> StepReport:
    state, recipe = learner.state, learner.recipe
    begun, waited, rate = time.perf_counter(), loader.waited_s, learning_rate(state.step, recipe)
    measured = _step(learner, next(batches))
    return StepReport(
        step=state.step,
        loss=measured.pop("loss"),
        gradient_norm=measured.pop("gradient_norm"),
        parts=measured,
        learning_rate=rate,
        images=recipe.batch_size,
        seconds=time.perf_counter() - begun,
        waited_s=loader.waited_s - waited,
    )


def _step(learner: _Learner, batch: Batch) -> dict[str, float]:
    """One optimiser step; the loss, its parts and the gradient's norm, as all processes together see them."""
    state, recipe = learner.state, learner.recipe
    # So that whatever a network draws by itself (dropout) is the same after a resume, without keeping generators' states.
    torch.manual_seed((recipe.seed << 32) + state.step * parallel.world() + parallel.rank())
    losses = forward(state, learner.network, batch, learner.objective)
    losses.total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.grad_clip_norm)
    measured = _measured(losses, norm)
    if not all(map(math.isfinite, measured.values())):
        what = f"loss {measured['loss']:g}, gradient norm {measured['gradient_norm']:g}"
        raise Diverged(state.step + 1, what, recipe)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state.step, recipe)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.ema.update(state.model, state.step)
    return measured


def _measured(losses: Losses, norm: Tensor) -> dict[str, float]:
    """In one message between the processes, and one copy from the device."""
    mine = {"loss": losses.total, "gradient_norm": norm, **losses.parts}
    together = parallel.mean(torch.stack(list(mine.values())).detach())
    return dict(zip(mine, together.tolist(), strict=True))


def forward(state: TrainState, network: nn.Module, batch: Batch, objective: Objective) -> Losses:
    """The losses of one process's share of a batch."""
    here = batch.to(state.placement.device)
    with state.placement.autocast():
        logits = network(state.placement.inputs(batch.images))  # [b, 1, 96, 96]
    return objective(logits, here, state.step)


def _is_evaluation_step(step: int, recipe: Recipe) -> bool:
    return step % recipe.evaluate_every == 0 and step < recipe.steps


def _take_score(state: TrainState, recipe: Recipe, score: float | None) -> None:
    if score is None:
        return
    if state.best is not None and score <= state.best.score:
        state.evaluations_without_better += 1
        return
    kept = None if recipe.early_stop_patience is None else {k: v.clone() for k, v in state.ema.model.state_dict().items()}
    state.best, state.evaluations_without_better = Best(score=score, step=state.step, weights=kept), 0


def _has_stalled(state: TrainState, recipe: Recipe) -> bool:
    return recipe.early_stop_patience is not None and state.evaluations_without_better >= recipe.early_stop_patience
