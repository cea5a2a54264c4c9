"""Sony's IMX500 behind picamera2, as on the Raspberry Pi AI Camera.

Written against picamera2's documented classes `IMX500` and `Picamera2` (https://github.com/raspberrypi/picamera2,
`picamera2/devices/imx500`), tested with a double of them: no such sensor was at hand. Both are imported where the stream is
started, so that everything else works without.
"""

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.camera.driver import DriverError, Frame, NotSupported, Progress, as_map
from services.camera.drivers.apart import ApartDriver
from services.camera.roi import Roi, RoiGate
from shared.contracts.packages import CONVERTED, INTRINSICS, RPK, NetworkIntrinsics, RpkState
from shared.kit.packages.folder import description, read_manifest
from shared.kit.rpk import reader
from shared.kit.rpk.errors import RpkError

PACKAGER: Final = "imx500-package"
"""Of Debian's imx500-tools on Raspberry Pi OS; makes network.rpk of packerOut.zip."""
PACKAGER_S: Final = 300.0
DEBUGFS: Final = Path("/sys/kernel/debug")
SETTLE_FRAMES: Final = 5
"""A region that was set shows after: the frame that is being exposed, the one whose network is running, and those that wait in
picamera2's queue. The sensor does not say which region a frame shows."""
BUFFERS: Final = 3
_NAME_BYTES: Final = 64


def imx500(*, debugfs: Path = DEBUGFS) -> ApartDriver:
    """The driver that the agent uses."""
    return ApartDriver(Imx500Stream, finish_rpk, partial(upload_progress, debugfs))


def finish_rpk(package: Path, folder: Path) -> Path | None:
    """Makes network.rpk in ``folder`` where the package has none. DriverError."""
    if read_manifest(package).rpk is RpkState.INCLUDED:
        return None
    tool = shutil.which(PACKAGER)
    if tool is None:
        raise DriverError(
            f"the package holds no {RPK}, and {PACKAGER}, which makes it, is not installed: `sudo apt install imx500-tools`"
        )
    command = [tool, "-i", str(package / CONVERTED), "-o", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=PACKAGER_S, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise DriverError(f"{PACKAGER} failed: {exc}"[:300]) from exc
    if done.returncode != 0:
        last = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        raise DriverError(f"{PACKAGER} ended with {done.returncode}: {last[-1][:200] if last else 'it says nothing'}")
    return _checked(folder / RPK)


def _checked(rpk: Path) -> Path:
    try:
        reader.read(rpk)
    except (RpkError, OSError) as exc:
        raise DriverError(f"{PACKAGER} made no {RPK} that can be read: {exc}"[:300]) from exc
    return rpk


def upload_progress(debugfs: Path) -> tuple[int, int] | None:
    """Bytes done and in all of what the kernel's driver uploads now; None where that cannot be read.

    `fw_progress` holds stage, bytes, and size; the bridge's `transfer_progress` what of the present block is done.
    """
    try:
        line = next(debugfs.glob("imx500-fw:*/fw_progress")).read_text("ascii")
        _stage, done, size = (int(part) for part in line.split()[:3])
    except (OSError, ValueError, StopIteration):
        return None
    try:
        chunk = int(next(debugfs.glob("rp2040-spi:*/transfer_progress")).read_text("ascii").strip())
    except (OSError, ValueError, StopIteration):
        chunk = 0
    return min(done + chunk, size), size


class Imx500Stream:
    """The part that runs in the sensor's process."""

    def __init__(self) -> None:
        self._device: Any = None
        self._camera: Any = None
        self._celsius: float | None = None
        self._gate = RoiGate(self._apply, SETTLE_FRAMES)

    def finish(self, package: Path, folder: Path) -> Path | None:
        """As ``finish_rpk``."""
        return finish_rpk(package, folder)

    def load(self, package: Path, finished: Path, on_progress: Progress) -> None:
        """Blocks until the upload is over, minutes at times. DriverError. Progress is to be seen from outside alone."""
        del on_progress
        rpk = package / RPK if (package / RPK).exists() else finished / RPK
        rate = NetworkIntrinsics.model_validate_json(description(package, INTRINSICS)).inference_rate
        try:
            from picamera2 import Picamera2
            from picamera2.devices import IMX500
        except ImportError as exc:
            raise DriverError(f"picamera2 is not installed ({exc}): `sudo apt install python3-picamera2 imx500-all`") from exc
        try:
            self._device = IMX500(str(rpk))  # before the camera: the network belongs to its configuration
            self._camera = Picamera2(self._device.camera_num)
            config = self._camera.create_preview_configuration(controls={"FrameRate": rate}, buffer_count=BUFFERS)
            self._camera.start(config, show_preview=False)
        except Exception as exc:  # picamera2 raises RuntimeError and whatever libcamera raises
            raise DriverError(f"the sensor cannot be started: {exc}"[:300]) from exc

    def frames(self) -> Iterator[Frame]:
        """Until the stream ends, which libcamera may say or not. DriverError."""
        while self._camera is not None:
            try:
                metadata = self._camera.capture_metadata()
            except Exception as exc:
                raise DriverError(f"the stream ended: {exc}"[:300]) from exc
            if (roi := self._gate.shown()) is not None:
                yield self._frame(metadata, roi)

    def set_roi(self, roi: Roi) -> None:
        """In pixels of the full sensor."""
        self._gate.move(roi)

    def give_windows(self, wanted: bool) -> None:
        """libcamera's control for it can be set while the stream runs."""
        if self._camera is not None:
            self._camera.set_controls({"CnnEnableInputTensor": wanted})

    def inject(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """picamera2 can inject tensors for debugging, from OpenEXR files and by private calls: nothing to rely on."""
        del frames
        raise NotSupported("picamera2 documents no way to inject an input tensor")

    def temperature(self) -> float | None:
        """Of the newest frame."""
        return self._celsius

    def close(self) -> None:
        """Stop the stream, and let the sensor go."""
        camera, self._camera = self._camera, None
        self._device = None
        if camera is not None:
            camera.stop()
            camera.close()

    def _frame(self, metadata: dict[str, Any], roi: Roi) -> Frame:
        celsius = metadata.get("SensorTemperature")
        self._celsius = float(celsius) if celsius is not None else self._celsius
        try:
            outputs = self._device.get_outputs(metadata)
            times = self._device.get_kpi_info(metadata)
        except ValueError as exc:  # lengths that do not fit what the network says of its tensors
            raise DriverError(f"the output tensor cannot be read: {exc}"[:300]) from exc
        dnn_ms, dsp_ms = times if times is not None else (None, None)
        output = as_map(outputs[0]) if outputs else None
        name, window = _network_name(metadata), self._window(metadata)
        return Frame(roi=roi, output=output, network=name, dnn_ms=dnn_ms, dsp_ms=dsp_ms, window=window)

    def _window(self, metadata: dict[str, Any]) -> NDArray[np.uint8] | None:
        tensor = metadata.get("CnnInputTensor")
        if not tensor:
            return None
        try:
            return np.asarray(self._device.input_tensor_image(tensor), np.uint8)
        except (KeyError, ValueError):  # no picture of this frame: the masks, which matter more, go on
            return None

    def _apply(self, roi: Roi) -> None:
        if self._device is not None:
            self._device.set_inference_roi_abs((roi.x, roi.y, roi.width, roi.height))


def _network_name(metadata: dict[str, Any]) -> str | None:
    """libcamera's CnnOutputTensorInfo begins with the name, 64 bytes filled up with zeros."""
    told = metadata.get("CnnOutputTensorInfo")
    return bytes(told)[:_NAME_BYTES].split(b"\0")[0].decode("utf-8", "replace") or None if told is not None else None
