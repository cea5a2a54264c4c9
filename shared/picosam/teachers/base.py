"""The interface of a teacher: pictures with prompts in, masks as logits out.

A *view* is what a teacher sees at once: the student's window with its margin, a larger window, or a whole image. Positions are
continuous, in the view's own pixels: pixel i covers [i, i + 1), so the middle of the first pixel is 0.5.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

PromptKind: TypeAlias = Literal["point", "box"]

OUTSIDE_LOGIT: Final = -10.0
"""What stands for "certainly no object" where a teacher was not asked, as outside the image: a probability of 0.00005."""


class TeacherFailed(Exception):
    """A teacher's answer cannot be used. ``hint`` says what to do."""

    hint = "Its weights are damaged or do not belong to it; take another checkpoint."


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A picture and its prompts. Each prompt comes as a point and as a box; ``prompt`` says which of them is meant."""

    image: NDArray[np.uint8]
    """RGB, [H, W, 3]."""
    points: NDArray[np.float32]
    """x, y: [P, 2]."""
    boxes: NDArray[np.float32]
    """x0, y0, x1, y1: [P, 4]; may reach beyond the view."""
    prompt: PromptKind
    scale: tuple[float, float]
    """View pixels per pixel of the image it was cut from, across and down."""
    image_width: int
    """Of the image it was cut from, in its own pixels."""

    def __post_init__(self) -> None:
        prompts = len(self.points)
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8 or 0 in self.image.shape:
            raise ValueError(f"a view's image is uint8 [H, W, 3], got {self.image.dtype} {self.image.shape}")
        if self.points.shape != (prompts, 2) or self.boxes.shape != (prompts, 4):
            raise ValueError(
                f"a view's prompts are points [P, 2] and boxes [P, 4], got {self.points.shape} and {self.boxes.shape}"
            )

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher says to the prompts of one view."""

    logits: NDArray[np.float32]
    """[P, h, w] over the whole view; h and w are the teacher's own choice."""
    quality: NDArray[np.float32] | None
    """Its own guess of each mask's IoU with the truth, [P] in 0..1; None from a teacher that has no opinion."""


def digest_of(facts: Mapping[str, object]) -> str:
    """``sha256:...`` of what a teacher is: its kind, weights and settings."""
    return f"sha256:{hashlib.sha256(msgspec.json.encode(facts, order='sorted')).hexdigest()}"


class Teacher(Protocol):
    """A network that was asked for its opinion."""

    @property
    def digest(self) -> str:
        """``sha256:...``: names weights and settings; the same digest gives the same answers but for rounding."""

    @property
    def views_at_once(self) -> int:
        """How many views of one prompt each it likes to be given together."""

    def answer(self, views: Sequence[View]) -> list[Answer]:
        """One answer per view. ``TeacherFailed`` if a number in it is not finite."""
