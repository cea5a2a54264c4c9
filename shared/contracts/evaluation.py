"""The evaluation job: which models, on which prompts, compared how."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Strict
from shared.contracts.datasets import DatasetSelection
from shared.contracts.training import Compute
from shared.contracts.windows import Border, WindowPolicy


class EvaluatedModel(Strict):
    """A registered version and which of its files is run."""

    model: str = Field(min_length=1, max_length=128, description="name/version or name@alias")
    runtime: Literal["onnx", "torch"] = Field(
        default="onnx", description="model.onnx in ONNX Runtime, or model.safetensors in torch"
    )


class Comparison(Strict):
    """How sure a difference between models is. Images are resampled, not prompts: those of one image are not independent."""

    resamples: int = Field(default=2000, ge=100, le=100_000)
    confidence: float = Field(default=0.95, ge=0.5, le=0.999)
    seed: int = Field(default=0, ge=0, lt=2**32)


Share = Annotated[float, Field(ge=0, le=1)]


class EvaluationSpec(Strict):
    """An evaluation job. All models are asked the same prompts; the first is the one that the others are compared with."""

    kind: Literal["evaluation"] = "evaluation"
    spec_version: Literal[1] = 1
    models: Annotated[list[EvaluatedModel], Field(min_length=1, max_length=8)]
    dataset: DatasetSelection
    max_prompts: int | None = Field(
        default=None, ge=1, description="the first N non-crowd annotations; the papers': 1000; null: all"
    )
    windows: Annotated[list[WindowPolicy], Field(max_length=4)] = Field(
        default_factory=list,
        description="prompt kinds and windows to ask with; empty: the window that the first model was trained on. Their border "
        "is not looked at: `borders` says which",
    )
    borders: Annotated[list[Border], Field(min_length=1, max_length=4)] = Field(default_factory=lambda: list(Border))
    jitter: Annotated[list[Share], Field(max_length=16)] = Field(
        default_factory=list,
        description="prompt noise as a share of the object's box: 0, 0.05, 0.1, 0.2, 0.3 is PicoSAM3's study; empty: none",
    )
    mask_ap: bool = Field(default=True, description="COCO (LVIS) mask AP in image pixels, by the libraries of these datasets")
    comparison: Comparison = Comparison()
    pictures: int = Field(default=8, ge=0, le=32, description="worst, median and best samples drawn, each so many")
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _named_once(self) -> "EvaluationSpec":
        if len({(each.model, each.runtime) for each in self.models}) < len(self.models):
            raise ValueError("models names one of them twice")
        for name in ("borders", "jitter"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} holds a value twice")
        labels = [policy.label for policy in self.windows]
        if len(set(labels)) < len(labels):
            raise ValueError("windows holds two of one kind, whose figures would have the same names; evaluate them one by one")
        return self
