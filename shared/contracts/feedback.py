"""Corrected masks: what users of a deployment say its answer should have been."""

from typing import Annotated

from pydantic import Field, model_validator

from shared.contracts.base import Digest, Lenient, Name, Strict, Timestamp
from shared.contracts.datasets import DatasetOut
from shared.contracts.segmentation import DEFAULT_DEPLOYMENT, Label, Prompt

Counts = Annotated[str, Field(min_length=1, max_length=4 << 20)]


class FeedbackMask(Strict):
    """A mask of the whole upright image: a PNG in base64 (black is background), or COCO's run lengths."""

    png: str | None = Field(default=None, max_length=16 << 20)
    counts: Counts | None = Field(default=None, description="compressed, of [height, width] of the image")

    @model_validator(mode="after")
    def _one_of_both(self) -> "FeedbackMask":
        if (self.png is None) == (self.counts is None):
            raise ValueError("a mask is a png or counts")
        return self


class FeedbackIn(Strict):
    """JSON body, or the part `request` of a multipart body whose part `image` is the file."""

    image: str | None = Field(default=None, description="base64 of a JPEG, PNG or WebP file; null in a multipart body")
    deployment: Name = DEFAULT_DEPLOYMENT
    model: str | None = Field(default=None, max_length=300, description="name/version that had answered")
    prompt: Prompt
    mask: FeedbackMask = Field(description="as it should have been")
    label: Label | None = Field(default=None, description="becomes the category; null: object")
    note: str = Field(default="", max_length=2000)


class FeedbackOut(Lenient):
    """A stored correction."""

    id: str
    deployment: str
    model: str | None = None
    image: Digest
    width: int
    height: int
    prompt: Prompt
    counts: str = Field(description="the mask as COCO's compressed run lengths")
    area: int
    label: str
    note: str
    created_at: Timestamp
    created_by: str


class FeedbackDatasetIn(Strict):
    """`POST /v1/feedback/datasets`: all corrections that are kept become a dataset."""

    name: Name
    deployment: Name | None = Field(default=None, description="null: of all deployments")
    description: str = Field(default="", max_length=2000)
    validation_share: float = Field(
        default=0, ge=0, lt=1, description="of the images, for a split val beside train; 0: one split, train"
    )


class FeedbackDatasetOut(Lenient):
    """The dataset, which the jobs service imports now."""

    dataset: DatasetOut
    corrections: int
    images: int
