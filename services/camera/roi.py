"""From a prompt to the sensor's region of interest, and which frames show it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared.contracts.packages import RoiPolicy
from shared.contracts.windows import Border
from shared.picosam.prompt import Box, Pixel, Shape, Window, box_window, point_window

LEAST_SIDE: Final = 64
"""Sensor pixels. Down to here a region at a border is shrunk round the prompt; a smaller one would show the network too little,
so it is moved instead."""

SENSOR: Final[Shape] = (3040, 4056)
"""Height and width of the IMX500."""


@dataclass(frozen=True, slots=True)
class Roi:
    """Sensor pixels: left, top, width, height; always inside the sensor."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, window: Window) -> "Roi":
        """A window inside the sensor."""
        return cls(window.x0, window.y0, window.width, window.height)


def point_roi(point: Pixel, policy: RoiPolicy, shape: Shape = SENSOR) -> Roi:
    """Round a point of the sensor. ValueError outside of it."""
    side = max(1, round(policy.side_share * shape[1]))
    return Roi.of(point_window(point, shape, side=_fitting(point, side, shape), border=Border.CLAMP))


def box_roi(box: Box, policy: RoiPolicy, shape: Shape = SENSOR) -> Roi:
    """Round a box of the sensor, with the policy's margin. ValueError without area on the sensor."""
    wanted = box_window(box, shape, margin=policy.box_margin, border=Border.PAD)
    centre = wanted.x0 + wanted.width // 2, wanted.y0 + wanted.height // 2
    return Roi.of(point_window(centre, shape, side=_fitting(centre, wanted.width, shape), border=Border.CLAMP))


def _fitting(point: Pixel, side: int, shape: Shape) -> int:
    """The largest side up to ``side`` with ``point`` in the middle and all of it on the sensor, but not below LEAST_SIDE."""
    (x, y), (height, width) = point, shape
    fits = min(2 * x + 1, 2 * (width - x), 2 * y + 1, 2 * (height - y))
    return min(side, max(fits, LEAST_SIDE))


class RoiGate:
    """Which region a frame shows: a sensor goes on with the one before for some frames after it was told of another.

    The IMX500 does not say with a frame which region it was made of, so as many frames as may be under way are dropped.
    """

    def __init__(self, apply: Callable[[Roi], None], settle_frames: int) -> None:
        self._apply, self._settle_frames = apply, settle_frames
        self._roi: Roi | None = None
        self._left = 0

    def move(self, roi: Roi) -> None:
        """Tell the sensor; nothing happens if it is there already."""
        if roi != self._roi:
            self._apply(roi)
            self._roi, self._left = roi, self._settle_frames

    def shown(self) -> Roi | None:
        """To be asked once for each frame: the region that it shows, or None if that is not sure."""
        if self._left > 0:
            self._left -= 1
            return None
        return self._roi
