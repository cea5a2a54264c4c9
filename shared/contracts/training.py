"""The training job: its recipe, with every knob, default and range."""

from enum import StrEnum
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, model_validator

from shared.contracts.base import Strict
from shared.contracts.datasets import DatasetSelection
from shared.contracts.windows import WindowPolicy


class Precision(StrEnum):
    """Arithmetic of the forward and backward pass; weights and optimiser stay in float32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Augmentation(Strict):
    """Applied on the fly to margin windows; every draw is a function of seed and sample number."""

    flip: float = Field(default=0.5, ge=0, le=1, description="probability of a horizontal flip")
    scale_jitter: float = Field(default=1.5, ge=1, le=2, description="window side times or divided by up to this")
    shift: float = Field(default=6, ge=0, le=24, description="window centre moved by up to this, in model pixels per axis")
    brightness: float = Field(default=0.2, ge=0, le=1)
    contrast: float = Field(default=0.2, ge=0, le=1)
    saturation: float = Field(default=0.2, ge=0, le=1)


Architecture: TypeAlias = Literal["picosam2", "picosam2_wide", "picosam3"]
"""Names in the ML core's registry; a test holds the two together."""


class Recipe(Strict):
    """How the network is fitted. Saved whole beside each checkpoint and with the model."""

    architecture: Architecture = "picosam2"
    seed: int = Field(default=0, ge=0, lt=2**32)
    samples: int = Field(default=24_000, ge=1, le=1_000_000_000, description="drawn in all, each augmented anew")
    batch_size: int = Field(default=16, ge=1, le=4096, description="over all processes together")
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="AdamW, at the peak")
    final_learning_rate: float = Field(default=0.01, ge=0, le=1, description="share of the peak at the end of the cosine")
    warmup: float = Field(default=0.05, ge=0, le=0.9, description="share of all steps with linear warm-up")
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    grad_clip_norm: float = Field(default=1.0, gt=0, le=1000)
    ema_decay: float = Field(default=0.998, ge=0, lt=1, description="0 switches the weight average off")
    bce_weight: float = Field(default=1.0, ge=0, le=100)
    dice_weight: float = Field(default=1.0, ge=0, le=100)
    area_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="of PicoSAM3's relu(0.4 - predicted area / true area): an answer must not shrink away",
    )
    augmentation: Augmentation = Augmentation()
    window: WindowPolicy = WindowPolicy()
    evaluate_every: int = Field(default=250, ge=1, description="steps between evaluations")
    checkpoint_every: int = Field(default=100, ge=1, description="steps between checkpoints")
    early_stop_patience: int | None = Field(
        default=None, ge=1, le=1000, description="evaluations without a better mIoU under the rule pad; null: never"
    )

    @property
    def steps(self) -> int:
        """Optimiser steps: a last partial batch is rounded up to a whole one."""
        return -(-self.samples // self.batch_size)


class Compute(Strict):
    """Where and how fast; does not belong to the recipe, since it should not change what is learnt."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = Field(
        default=1, ge=1, le=64, description="data-parallel processes on one machine (torchrun; gloo or nccl)"
    )
    precision: Precision = Precision.AUTO
    channels_last: bool = True
    threads: int | None = Field(default=None, ge=1, le=512, description="per process; null: the machine's cores shared out")


class EvaluationSettings(Strict):
    """Which prompts are scored, and how many pictures are logged."""

    max_prompts: int | None = Field(default=None, ge=1, description="the first N non-crowd annotations; null: all")
    interim_prompts: int | None = Field(default=400, ge=1, description="the same for evaluations before the last")
    pictures: int = Field(default=16, ge=0, le=64, description="fixed samples drawn at each evaluation")
    mask_ap: bool = Field(default=True, description="COCO mask AP over the evaluated prompts, in image pixels")


class FittingSpec(Strict):
    """What every job that fits a network is told, whatever it learns from."""

    spec_version: Literal[1] = 1
    train: Annotated[list[DatasetSelection], Field(min_length=1, max_length=16)]
    validation: DatasetSelection
    recipe: Recipe = Recipe()
    compute: Compute = Compute()
    evaluation: EvaluationSettings = EvaluationSettings()
    initial_model: str | None = Field(
        default=None, max_length=128, description="start from a registered version: name/version or name@alias"
    )
    register_as: str | None = Field(
        default_factory=lambda data: data["recipe"].architecture if "recipe" in data else None,  # a bad recipe is refused
        pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$",
        description="default: the architecture's name; null: register nothing",
    )

    @model_validator(mode="after")
    def _validation_is_held_out(self) -> "FittingSpec":
        if self.validation in self.train:
            raise ValueError(
                f"validation {self.validation.dataset}/{self.validation.split} is also in train; choose a held-out split"
            )
        return self

    @model_validator(mode="after")
    def _batch_can_be_shared_out(self) -> "FittingSpec":
        if self.recipe.batch_size % self.compute.processes:
            raise ValueError(
                f"recipe.batch_size {self.recipe.batch_size} cannot be shared by {self.compute.processes} processes; "
                "choose a multiple of compute.processes"
            )
        return self


class TrainingSpec(FittingSpec):
    """A training job: the student learns from masks alone."""

    kind: Literal["training"] = "training"
