"""How a prompt becomes a window of the image."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from shared.contracts.base import Strict


class Border(StrEnum):
    """What happens to a window that leaves the image."""

    AUTHORS = "authors"
    """The published code: left and top clamped, right and bottom cut and stretched back."""
    PAD = "pad"
    """The prompt stays centred; outside the image is black and never object."""
    CLAMP = "clamp"
    """The window is moved inside the image."""
    SHRINK = "shrink"
    """A smaller window round the prompt that fits: what a sensor's region of interest can do."""


class WindowPolicy(Strict):
    """How a prompt becomes a window."""

    prompt: Literal["point", "box"] = "point"
    side: int | None = Field(
        default=96, ge=16, le=2048, description="point prompts: window side in image pixels; null: 0.15 of the image width"
    )
    box_margin: float = Field(
        default=0.1, ge=0, le=1, description="box prompts: added per side, as a share of the box's longer side"
    )
    border: Border = Border.PAD

    @property
    def label(self) -> str:
        """What the names of metrics under this policy carry: 96 for the published protocol's windows, else 128, share, box."""
        if self.prompt == "box":
            return "box"
        return "share" if self.side is None else str(self.side)
