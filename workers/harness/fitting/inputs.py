"""What a job that fits a network reads: prepared windows of its datasets, and the model it starts from."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from torch import nn

from shared.contracts.training import FittingSpec
from shared.contracts.windows import Border
from shared.contracts.worker import DatasetGrant
from shared.picosam.augment import canvas_for
from shared.picosam.data.shard_files import ShardReader
from shared.picosam.data.shards import ShardPolicy
from shared.picosam.weights import load_weights
from workers.harness import inputs
from workers.harness.context import JobContext
from workers.harness.errors import JobFailed

CANVAS: Final = 168
"""Covers the default augmentation; milder ones use the same windows."""

BORDERS: Final = (Border.AUTHORS, Border.PAD)
"""The rules that every model is scored under."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Prepared windows, on disk."""

    train: list[ShardReader]
    """In the spec's order."""
    policy: ShardPolicy
    """Of the training windows."""
    validation: dict[Border, ShardReader]


def open_windows(ctx: JobContext, spec: FittingSpec, stack: ExitStack) -> Windows:
    """All windows of the job; they stay in the cache as long as ``stack`` is open."""
    *train, validation = ctx.claim.datasets
    policy = training_policy(spec)

    def opened(grant: DatasetGrant, split: str, wanted: ShardPolicy) -> ShardReader:
        ctx.raise_if_stopped()
        return stack.enter_context(inputs.shards(ctx, grant, split, wanted))

    return Windows(
        train=[opened(grant, chosen.split, policy) for grant, chosen in zip(train, spec.train, strict=True)],
        policy=policy,
        validation={border: opened(validation, spec.validation.split, _evaluated(spec, border)) for border in BORDERS},
    )


def training_policy(spec: FittingSpec) -> ShardPolicy:
    """How the training windows are cut."""
    canvas = max(CANVAS, canvas_for(spec.recipe.augmentation))
    return ShardPolicy(window=spec.recipe.window, canvas=canvas)


def _evaluated(spec: FittingSpec, border: Border) -> ShardPolicy:
    return ShardPolicy(window=spec.recipe.window.model_copy(update={"border": border}))


def initial_model(ctx: JobContext, spec: FittingSpec) -> nn.Module | None:
    """The registered model that the job starts from, float32 on the CPU; None if it starts from random weights."""
    grant = ctx.claim.models.get("initial_model")
    if grant is None:
        return None
    path = ctx.folder / f"initial-{ctx.rank}.safetensors"
    inputs.model_file(ctx, grant, path)
    model, config = load_weights(path)
    if config.architecture != spec.recipe.architecture:
        message = f"{grant.name}/{grant.version} is a {config.architecture}, the recipe trains a {spec.recipe.architecture}"
        raise JobFailed("wrong_architecture", message, "Choose an initial model of the recipe's architecture.")
    return model
