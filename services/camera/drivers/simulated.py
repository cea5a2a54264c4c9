"""A sensor without hardware: the package's own reference network, run by ONNX Runtime on real pictures.

The only part of the agent that imports ONNX Runtime: `pip install 'picofleet[camera-simulated]'`.
"""

import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.camera.driver import DriverError, Frame, Progress, as_map
from services.camera.roi import SENSOR, Roi, RoiGate
from services.camera.settings import Fault
from shared.contracts.packages import CONVERTED, INTRINSICS, REFERENCE_MODEL, InputFormat, NetworkIntrinsics
from shared.contracts.windows import Border
from shared.kit.packages.converted import read_converted
from shared.kit.packages.folder import description, read_manifest
from shared.picosam.errors import BadWeights
from shared.picosam.onnx_session import open_session
from shared.picosam.prompt import ImageArray, Window, extract

DNN_MS: Final = 14.3
"""What PicoSAM2 takes on the sensor, as its paper measured it (arXiv:2506.18807). Not measured here."""
DSP_MS: Final = 1.0
SLOW_MS: Final = 480.0
SETTLE_FRAMES: Final = 3
"""That still show the region before."""
FRAMES_PER_PICTURE: Final = 20
_STEPS: Final = 20
_MOST_PIXELS: Final = 40_000_000
_CELSIUS: Final = 41.0
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})


class SimulatedDriver:
    """``fault`` befalls ``fault_packages`` (as picosam2/8), or all if there are none. ``upload_s``: how long a load takes."""

    def __init__(
        self,
        images: Path,
        *,
        frames_per_s: float = 10,
        upload_s: float = 1,
        fault: Fault = Fault.NONE,
        fault_packages: frozenset[str] = frozenset(),
    ) -> None:
        self._images, self._frames_per_s, self._upload_s = images, frames_per_s, upload_s
        self._fault_wanted, self._fault_packages = fault, fault_packages
        self._fault = Fault.NONE
        self._closed = threading.Event()
        self._session: Any = None
        self._input = InputFormat()
        self._network = ""
        self._gives_windows = False
        self._gate = RoiGate(lambda _: None, SETTLE_FRAMES)

    def finish(self, package: Path, folder: Path) -> Path | None:
        """Nothing: the reference network runs as it is."""
        del package, folder
        return None

    def load(self, package: Path, finished: Path, on_progress: Progress) -> None:
        """Takes its time, as an upload does. DriverError."""
        del finished
        self._closed, self._gives_windows = threading.Event(), False
        manifest = read_manifest(package)
        hit = not self._fault_packages or f"{manifest.line}/{manifest.release}" in self._fault_packages
        self._fault = self._fault_wanted if hit else Fault.NONE
        self._upload((package / CONVERTED).stat().st_size, on_progress)
        intrinsics = NetworkIntrinsics.model_validate_json(description(package, INTRINSICS))
        self._input = intrinsics.picofleet.input
        self._network = read_converted(package / CONVERTED).networks[0].name
        try:
            self._session = open_session(package / REFERENCE_MODEL, quantization="fake_quant", threads=1)
        except BadWeights as exc:
            raise DriverError(str(exc)) from exc
        self._gate = RoiGate(lambda _: None, SETTLE_FRAMES)

    def frames(self) -> Iterator[Frame]:
        """At the set rate, of one picture after the other. DriverError where there is none."""
        closed = self._closed
        pictures = self._pictures()
        picture = next(pictures)
        for number in itertools.count(1):
            if closed.wait(1 / self._frames_per_s):
                return
            if number % FRAMES_PER_PICTURE == 0:
                picture = next(pictures)
            roi = self._gate.shown()
            if roi is not None and self._fault is not Fault.SILENT:
                yield self._frame(picture, roi, number)

    def set_roi(self, roi: Roi) -> None:
        """Shown from the fourth frame on."""
        self._gate.move(roi)

    def give_windows(self, wanted: bool) -> None:
        """With the next frame."""
        self._gives_windows = wanted

    def inject(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As the network answers."""
        return np.stack([self._answer(frame) for frame in frames])

    def temperature(self) -> float | None:
        """Always the same."""
        return _CELSIUS

    def close(self) -> None:
        """Any thread may."""
        self._closed.set()
        self._session = None

    def _upload(self, size: int, on_progress: Progress) -> None:
        for step in range(_STEPS):
            on_progress(size * step // _STEPS, size)
            if step == _STEPS // 2:
                self._misbehave_halfway()
            if self._closed.wait(self._upload_s / _STEPS):
                raise DriverError("closed in the middle of the upload")
        on_progress(size, size)

    def _misbehave_halfway(self) -> None:
        if self._fault is Fault.CRASH:
            os._exit(70)
        if self._fault is Fault.STALL:
            self._closed.wait()

    def _frame(self, picture: ImageArray, roi: Roi, number: int) -> Frame:
        is_missing = self._fault is Fault.MISSING and number % 2 == 0
        window = _seen(picture, roi, self._input)
        output = None if is_missing else self._answer(window)
        if output is not None and self._fault is Fault.SHAPE:
            output = output[:-1]
        network = "another" if self._fault is Fault.NAME else self._network
        dnn_ms = SLOW_MS if self._fault is Fault.SLOW else DNN_MS
        given = window if self._gives_windows else None
        return Frame(roi=roi, output=output, network=network, dnn_ms=dnn_ms, dsp_ms=DSP_MS, window=given)

    def _answer(self, window: ImageArray) -> NDArray[np.float32]:
        """Logits [H, W] to an RGB window of the network's size. DriverError."""
        session = self._session
        if session is None:
            raise DriverError("no network is loaded")
        is_swapped = (self._input.color_order == "BGR") != (self._fault is Fault.DRIFT)
        given = window[..., ::-1] if is_swapped else window
        planes = np.ascontiguousarray(given.transpose(2, 0, 1)[None], dtype=np.float32) * np.float32(self._input.scale)
        try:
            (found,) = session.run(None, {session.get_inputs()[0].name: planes})
        except Exception as exc:  # ONNX Runtime's errors share no base class
            raise DriverError(f"the network cannot be run: {exc}"[:300]) from exc
        return as_map(found)

    def _pictures(self) -> Iterator[ImageArray]:
        """For ever. DriverError if the folder holds none that can be read."""
        while True:
            readable = 0
            for path in sorted(self._images.iterdir() if self._images.is_dir() else ()):
                if path.suffix.lower() in _SUFFIXES and (picture := _picture(path)) is not None:
                    readable += 1
                    yield picture
            if readable == 0:
                raise DriverError(f"{self._images} holds no JPEG or PNG that can be read")


def _picture(path: Path) -> ImageArray | None:
    """RGB; None for what is none, or larger than memory is for."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                return None
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError):
        return None


def _seen(picture: ImageArray, roi: Roi, wanted: InputFormat) -> ImageArray:
    """The region of a sensor before which the picture fills the view, in the network's size (which is square)."""
    height, width = picture.shape[:2]
    across, down = width / SENSOR[1], height / SENSOR[0]
    x0, y0 = int(roi.x * across), int(roi.y * down)
    x1, y1 = max(x0 + 1, round((roi.x + roi.width) * across)), max(y0 + 1, round((roi.y + roi.height) * down))
    return extract(picture, Window(x0=x0, y0=y0, x1=x1, y1=y1, border=Border.CLAMP, clipped=False), wanted.width)
