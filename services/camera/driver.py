"""What a sensor must be able to do. Implementations: services.camera.drivers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.camera.roi import Roi

Progress = Callable[[int, int], None]
"""Of an upload: bytes done and in all."""


class NotSupported(Exception):
    """The device has no way to do this."""


class DriverError(Exception):
    """The sensor, or what stands before it, does not do what it should. The text is for the platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the sensor made of one picture."""

    roi: Roi
    """That the network saw."""
    output: NDArray[np.float32] | None
    """Logits [H, W]; None: the picture came without an answer."""
    network: str | None
    """Name of the network that answered; None where the device does not say."""
    dnn_ms: float | None
    dsp_ms: float | None
    window: NDArray[np.uint8] | None = None
    """RGB [H, W, 3], as the network was given it; None unless the driver was told to give windows."""


class Driver(Protocol):
    """A sensor. One thread at a time uses it, but for ``close`` and ``set_roi``, which any thread may call at any moment."""

    def finish(self, package: Path, folder: Path) -> Path | None:
        """Make in ``folder`` what the sensor needs beside the package; None if nothing. DriverError."""

    def load(self, package: Path, finished: Path, on_progress: Progress) -> None:
        """Bring the network to the sensor, in place of the one before; the stream runs when this returns. DriverError."""

    def frames(self) -> Iterator[Frame]:
        """Frames as they come, until the stream ends. Those that may show another region than the last set are left out."""

    def set_roi(self, roi: Roi) -> None:
        """Look there from now on."""

    def give_windows(self, wanted: bool) -> None:
        """Whether frames come with their pixels, from one of the next on. After a load they do not."""

    def inject(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the network on the sensor answers to RGB ``frames`` [N, H, W, 3]. NotSupported, DriverError."""

    def temperature(self) -> float | None:
        """Of the sensor, in degrees Celsius; None if it does not say."""

    def close(self) -> None:
        """End the stream, and any load under way. ``load`` may be called again afterwards."""


def as_map(output: NDArray[Any]) -> NDArray[np.float32]:
    """[H, W] of an answer with axes of length 1 round it; others as they are."""
    return np.squeeze(np.asarray(output, dtype=np.float32))
