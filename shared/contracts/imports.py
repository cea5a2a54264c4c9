"""The two jobs that bring things in from outside."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from shared.contracts.base import Digest, Name, Strict
from shared.contracts.datasets import Source, SplitRule
from shared.contracts.training import Architecture


class DatasetImportSpec(Strict):
    """Validates a dataset and writes its manifest. Made by the service when a dataset is registered."""

    kind: Literal["dataset_import"] = "dataset_import"
    spec_version: Literal[1] = 1
    dataset_id: str
    name: Name
    source: Source
    split_rule: SplitRule | None = None


class WeightsFormat(StrEnum):
    """How imported weights are written."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    STATE_DICT = "state_dict"
    """A PyTorch state dict (.pt, .pth), with our key names or the published ones. Loaded with weights_only."""


class ModelImportSpec(Strict):
    """Brings existing weights into the registry."""

    kind: Literal["model_import"] = "model_import"
    spec_version: Literal[1] = 1
    blob: Digest = Field(description="the weights, uploaded with `POST /v1/blobs`")
    format: WeightsFormat
    architecture: Architecture = "picosam2"
    input_scale: Literal["pixel/256", "imagenet"] = Field(
        default="pixel/256",
        description="what a state dict without an inner normalisation expects: pixel/256, or ImageNet's mean and std "
        "(the published PicoSAM2 and PicoSAM3), which the import then writes into the input BatchNorm",
    )
    register_as: Name = Field(
        default_factory=lambda data: data.get("architecture", "picosam2"), description="default: the architecture's name"
    )
    description: str = Field(default="", max_length=2000)
