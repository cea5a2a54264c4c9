"""Where the sensor looks: a policy is asked with every frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from services.camera.driver import Frame
from services.camera.roi import SENSOR, Roi, point_roi
from shared.contracts.packages import INTRINSICS, NetworkIntrinsics, RoiPolicy
from shared.kit.packages.errors import ManifestInvalid
from shared.kit.packages.folder import description, words


class Prompts(Protocol):
    """Chooses the next region. Called by the thread that reads the frames: it must be quick."""

    def first(self) -> Roi:
        """Where to look before any frame came."""

    def following(self, frame: Frame) -> Roi:
        """Where to look after this one."""


MakePrompts = Callable[[RoiPolicy], Prompts]
"""For a package's policy."""


class FixedPoint:
    """One point for ever. ``x``, ``y``: shares of the sensor's width and height, 0 to below 1."""

    def __init__(self, x: float, y: float, policy: RoiPolicy) -> None:
        height, width = SENSOR
        self._roi = point_roi((int(x * width), int(y * height)), policy)

    def first(self) -> Roi:
        """There."""
        return self._roi

    def following(self, frame: Frame) -> Roi:
        """Still there."""
        del frame
        return self._roi


def policy_of(package: Path) -> RoiPolicy:
    """How the package wants prompts to become regions. ManifestInvalid, FileMissing."""
    try:
        return NetworkIntrinsics.model_validate_json(description(package, INTRINSICS)).picofleet.roi
    except ValidationError as exc:
        raise ManifestInvalid(f"{INTRINSICS}: {words(exc)}", file=INTRINSICS) from exc
