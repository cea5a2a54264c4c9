"""Which windows show a quantizer its ranges, and whether they are what the network will see."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from shared.contracts.quantization import LEAST_CALIBRATION
from shared.picosam.figures import AREA_BANDS, Values
from shared.picosam.model import IMAGENET_MEAN
from shared.picosam.quantization.errors import BadCalibration

Report = Callable[[str, int, int], None]
"""What a quantizer tells while it looks at the windows: the phase, how much of it is done, and out of how much (0: unknown).
What it raises ends the work."""

HALF_RANGE: Final = 128
"""A window whose brightest value is below this leaves the sensor's upper half unused: the quantizer of the input would then
take half the range as all of it, and whatever is brighter on the sensor would be cut off."""

FLATTEST: Final = 4.0
"""Levels of standard deviation over all windows: less is a black or blank folder, not a picture."""

SWAPPED_BY: Final = 8.0
"""Levels by which blue exceeds red on average before the order of the channels is doubted. In photographs red exceeds blue
by 20 (ImageNet's means are 124, 116 and 104)."""

SURE: Final = 4.0
"""Standard errors that this difference must be away from 0, window by window: a few blue pictures are no proof."""


def choose_rows(areas: Values, count: int, seed: int) -> NDArray[np.int64]:
    """Rows of ``count`` windows, ascending: as many of small, medium and large objects as there are, by turns at random.

    areas: of the objects, image pixels, [N]. A function of its arguments. All rows if there are fewer than ``count``.
    BadCalibration if there are fewer than ``LEAST_CALIBRATION``.
    """
    if areas.size < LEAST_CALIBRATION:
        raise BadCalibration(
            f"the calibration split has {areas.size} windows; at least {LEAST_CALIBRATION} are needed",
            hint="Choose a split with more objects: the training split is a good one.",
        )
    random = np.random.default_rng(seed)
    bands = [random.permutation(np.flatnonzero((areas >= low) & (areas < high))) for low, high in AREA_BANDS.values()]
    # The turn in which each row is drawn: the first of every band, then the second of every band, ...
    turns = np.concatenate([np.arange(band.size) for band in bands])
    drawn = np.concatenate(bands)[np.argsort(turns, kind="stable")]
    return np.sort(drawn[:count])


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What the calibration windows hold, in levels of 0..255: for the report."""

    windows: int
    darkest: int
    brightest: int
    mean: tuple[float, float, float]
    """Red, green, blue."""
    deviation: float


def check_windows(windows: NDArray[np.uint8], *, allow_unusual: bool = False) -> Range:
    """The range of calibration windows, uint8 [N, S, S, 3] RGB as the sensor delivers them.

    BadCalibration where a network calibrated on them would be wrong on the sensor: values that are no levels of 0..255 (of a
    mean and deviation taken off outside the network, say), a range of which half is unused, no contrast; and, unless
    ``allow_unusual``, channels that look swapped.
    """
    found = _range(windows)
    _check_levels(found)
    if not allow_unusual and _looks_swapped(windows):
        means = " / ".join(f"{mean:.0f}" for mean in found.mean)
        expected = " / ".join(f"{255 * mean:.0f}" for mean in IMAGENET_MEAN)
        raise BadCalibration(
            f"red and blue of the calibration windows look swapped: their mean red / green / blue is {means}, that of "
            f"photographs is about {expected}",
            hint="Write the images as RGB (OpenCV reads and writes BGR). If the place really is that blue, set "
            "calibration.allow_unusual.",
        )
    return found


def _looks_swapped(windows: NDArray[np.uint8]) -> bool:
    means = windows.mean(axis=(1, 2), dtype=np.float64)
    excess = means[:, 2] - means[:, 0]
    error = float(excess.std(ddof=1)) / len(excess) ** 0.5
    return bool(excess.mean() > max(SWAPPED_BY, SURE * error))


def _range(windows: NDArray[np.uint8]) -> Range:
    if windows.dtype != np.uint8 or windows.ndim != 4 or windows.shape[-1] != 3:
        raise BadCalibration(
            f"calibration windows are {windows.dtype} {list(windows.shape)}, expected uint8 [N, S, S, 3]",
            hint="Give the pixels as they are, 0..255 RGB: the network scales and normalises them itself, as on the sensor.",
        )
    if len(windows) < LEAST_CALIBRATION:
        raise BadCalibration(
            f"{len(windows)} calibration windows; at least {LEAST_CALIBRATION} are needed", hint="Raise calibration.samples."
        )
    red, green, blue = windows.reshape(-1, 3).mean(axis=0, dtype=np.float64).tolist()
    return Range(
        windows=len(windows),
        darkest=int(windows.min()),
        brightest=int(windows.max()),
        mean=(red, green, blue),
        deviation=float(windows.std(dtype=np.float64)),
    )


def _check_levels(found: Range) -> None:
    if found.brightest <= HALF_RANGE:
        raise BadCalibration(
            f"no value of the calibration windows is above {found.brightest} of 255, so the input's quantizer would not be the "
            "sensor's own format",
            hint="If the images were scaled to 0..1 before they were saved, save them as 0..255. If the place is that dark, "
            "add brighter images of it.",
        )
    if found.deviation < FLATTEST:
        raise BadCalibration(
            f"the calibration windows show next to nothing: their deviation is {found.deviation:.1f} of 255 levels",
            hint="Look at the images of the calibration split.",
        )
