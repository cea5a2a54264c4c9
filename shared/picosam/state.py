"""All that changes while a network is fitted, and so all that a checkpoint holds."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shared.contracts.training import Compute, Recipe
from shared.picosam.ema import Ema
from shared.picosam.model import build_model
from shared.picosam.placement import Placement, place


@dataclass(frozen=True, slots=True)
class Best:
    """The best evaluation so far. ``weights``: the average that it scored, kept only where early stopping may need it."""

    score: float
    step: int
    weights: dict[str, Tensor] | None


@dataclass(slots=True)
class TrainState:
    """The network, its average, the optimiser and the position.

    Learning rate, order of the samples, augmentation and random numbers are functions of the recipe and ``step``: nothing
    of them needs keeping, and nothing of them can be forgotten in a checkpoint.
    """

    model: nn.Module
    ema: Ema[nn.Module]
    optimizer: torch.optim.AdamW
    placement: Placement
    step: int = 0
    """Optimiser steps taken."""
    best: Best | None = None
    evaluations_without_better: int = 0


def new_state(recipe: Recipe, compute: Compute, model: nn.Module | None = None) -> TrainState:
    """The state before the first step: a network drawn from the recipe's seed, or ``model`` (float32) to start from."""
    placement = place(compute)
    model = placement.put(model or build_model(recipe.architecture, recipe.seed)).train()
    return TrainState(
        model=model,
        ema=Ema(model, recipe.ema_decay),
        optimizer=_adamw(model, recipe),
        placement=placement,
    )


def learning_rate(step: int, recipe: Recipe) -> float:
    """The rate of step ``step`` (0 to recipe.steps - 1): linear warm-up to the peak, then half a cosine down."""
    warm = round(recipe.warmup * recipe.steps)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, recipe.steps - warm)
    last = recipe.final_learning_rate
    return recipe.learning_rate * (last + (1 - last) * (1 + math.cos(math.pi * done)) / 2)


def chosen_weights(state: TrainState, recipe: Recipe) -> dict[str, Tensor]:
    """The weights to publish: the average; with early stopping the average that scored best.

    Without early stopping the last is taken on purpose: interim scores are over few prompts, and picking the best of many
    noisy ones prefers luck.
    """
    if recipe.early_stop_patience is not None and state.best is not None and state.best.weights is not None:
        return state.best.weights
    return state.ema.model.state_dict()


def _adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Biases and BatchNorm's scales are not decayed: pulling a scale to zero is no regularisation."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
