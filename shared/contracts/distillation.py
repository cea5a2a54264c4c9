"""The distillation job: which teacher, what it sees, and how much of the loss is its word."""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Digest, Lenient, Strict
from shared.contracts.training import FittingSpec


class SamSize(StrEnum):
    """The published sizes of SAM 2.1."""

    TINY = "tiny"
    SMALL = "small"
    BASE_PLUS = "base_plus"
    LARGE = "large"


class PublishedCheckpoint(Lenient):
    """A checkpoint as Meta publishes it. The digests are those of many public mirrors and lock files."""

    size: SamSize
    url: str
    digest: Digest
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        """What `picofleet teachers fetch` calls it: sam2.1-tiny, sam2.1-base-plus."""
        return f"sam2.1-{self.size.value.replace('_', '-')}"


_BASE_URL: Final = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"

PUBLISHED_CHECKPOINTS: Final = {
    SamSize.TINY: PublishedCheckpoint(
        size=SamSize.TINY,
        url=f"{_BASE_URL}/sam2.1_hiera_tiny.pt",
        digest="sha256:7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        size_bytes=156_008_466,
    ),
    SamSize.SMALL: PublishedCheckpoint(
        size=SamSize.SMALL,
        url=f"{_BASE_URL}/sam2.1_hiera_small.pt",
        digest="sha256:6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    ),
    SamSize.BASE_PLUS: PublishedCheckpoint(
        size=SamSize.BASE_PLUS,
        url=f"{_BASE_URL}/sam2.1_hiera_base_plus.pt",
        digest="sha256:a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    ),
    SamSize.LARGE: PublishedCheckpoint(
        size=SamSize.LARGE,
        url=f"{_BASE_URL}/sam2.1_hiera_large.pt",
        digest="sha256:2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    ),
}


class Checkpoint(Strict):
    """Where a teacher's weights are. The digest is always checked before a byte is interpreted."""

    digest: Digest = Field(description="sha256 of the file")
    url: str | None = Field(
        default=None,
        max_length=4096,
        pattern=r"^(https?://|file:///|/).+$",
        description="https:// or http:// URL, or file:// URL or absolute path as the worker sees it; null: the uploaded blob "
        "of that digest",
    )


class SamTeacher(Strict):
    """SAM 2.1 through the sam2 package."""

    kind: Literal["sam2"] = "sam2"
    size: SamSize = SamSize.TINY
    checkpoint: Checkpoint | None = Field(
        default=None, description="null: the published one, uploaded before by `picofleet teachers fetch sam2.1-tiny`"
    )
    masks: Literal["best", "weighted"] = Field(
        default="best", description="of SAM's three masks the one with the best predicted IoU, or all weighted by it"
    )
    allow_random_weights: bool = Field(
        default=False, description="for tests of the machinery only: such a teacher knows nothing"
    )


class ModelTeacher(Strict):
    """A registered model version. It sees its own windows, and has no opinion on its own quality."""

    kind: Literal["model"] = "model"
    model: str = Field(min_length=1, max_length=128, description="name/version or name@alias")


Teacher = Annotated[SamTeacher | ModelTeacher, Field(discriminator="kind")]


class TeacherView(StrEnum):
    """What of the image the teacher sees."""

    WINDOW = "window"
    """The student's window with its margin; the published code's choice (without a margin)."""
    CONTEXT = "context"
    """A larger window round the prompt."""
    IMAGE = "image"
    """The whole image: SAM embeds it once for all its prompts."""


class Distillation(Strict):
    """How the teacher's answers are made and how they enter the loss."""

    view: TeacherView = TeacherView.WINDOW
    context_side: int = Field(default=256, ge=96, le=1024, description="view context: side in image pixels")
    loss: Literal["per_sample", "paper"] = Field(
        default="per_sample",
        description="per_sample: a (MSE + Dice)(student, teacher) + (1 - a) (BCE + Dice)(student, mask), a = weight x the "
        "teacher's IoU of this sample (predicted by itself, else measured against the mask); paper: "
        "w MSE + (1 - w) (BCE + Dice) / 2",
    )
    weight: float = Field(default=1.0, ge=0, le=1, description="of the teacher at the first step; the paper's lambda")
    final_weight: float | None = Field(default=None, ge=0, le=1, description="at the last step; null: as at the first")
    schedule: Literal["constant", "linear", "cosine"] = Field(default="constant", description="from weight to final_weight")
    temperature: float = Field(
        default=1.0, ge=0.1, le=100, description="logits of both are divided by it before they are compared"
    )

    @model_validator(mode="after")
    def _schedule_has_an_end(self) -> "Distillation":
        if (self.schedule == "constant") != (self.final_weight is None):
            raise ValueError("final_weight belongs to the schedules linear and cosine, and they need it")
        return self


class DistillationSpec(FittingSpec):
    """A distillation job: the student learns from masks and from a teacher."""

    kind: Literal["distillation"] = "distillation"
    teacher: Teacher
    distillation: Distillation = Distillation()

    @model_validator(mode="after")
    def _teacher_can_be_prompted(self) -> "DistillationSpec":
        if self.teacher.kind == "model" and self.distillation.view is TeacherView.IMAGE:
            raise ValueError(
                "a registered model is prompted by its window, so distillation.view image works with a sam2 teacher only; "
                "choose window or context"
            )
        return self


class TeacherOut(Lenient):
    """`GET /v1/teachers`: a published checkpoint, and whether this platform has it."""

    name: str
    size: SamSize
    url: str
    digest: Digest
    size_bytes: int | None = None
    present: bool
