"""A double of picamera2's documented classes that behaves as the sensor was seen to: see the pull requests and issues that
services/camera/drivers/imx500.py names. Installed in the sensor's own process; RECORDED_STORY says what
happens to networks whose path holds RECORDED_WHERE.
"""

import ctypes
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from services.camera.drivers.imx500 import Imx500Stream

SIDE = 8
FULL_SENSOR = (0, 0, 4056, 3040)


class IMX500:
    """Reads the rpk, sets regions, and takes answers out of metadata."""

    camera_num = 0
    made: ClassVar["list[IMX500]"] = []

    def __init__(self, network_file: str) -> None:
        if not Path(network_file).is_file():
            raise RuntimeError(f"Firmware file {network_file} does not exist.")
        self.rois = [FULL_SENSOR]
        self.story = os.environ["RECORDED_STORY"] if os.environ["RECORDED_WHERE"] in network_file else "good"
        IMX500.made.append(self)

    def set_inference_roi_abs(self, roi: tuple[int, int, int, int]) -> None:
        self.rois.append(roi)

    def get_outputs(self, metadata: dict[str, Any], add_batch: bool = False) -> list[np.ndarray] | None:
        assert not add_batch
        tensor = metadata.get("CnnOutputTensor")
        if not tensor:
            return None
        return [np.fromiter(tensor, dtype=np.float32).reshape((SIDE, SIDE), order="F")]

    def input_tensor_image(self, input_tensor: list[int]) -> np.ndarray:
        return np.array(input_tensor, np.uint8).reshape((3, SIDE, SIDE)).transpose(1, 2, 0)

    @staticmethod
    def get_kpi_info(metadata: dict[str, Any]) -> tuple[float, float] | None:
        told = metadata.get("CnnKpiInfo")
        return (told[0] / 1000, told[1] / 1000) if told is not None else None


class Picamera2:
    """Streams metadata; ``start`` holds the interpreter's lock while the network is uploaded, as libcamera's binding does."""

    def __init__(self, camera_num: int) -> None:
        assert IMX500.made, "the network must be set before the camera is opened"
        assert camera_num == IMX500.camera_num
        self._number = 0
        self._gives_input = False
        self._story = IMX500.made[-1].story

    def create_preview_configuration(self, controls: dict[str, Any], buffer_count: int) -> dict[str, Any]:
        return {"controls": controls, "buffer_count": buffer_count}

    def start(self, config: dict[str, Any], show_preview: bool) -> None:
        assert not show_preview
        assert config["controls"]["FrameRate"] > 0
        progress = Path(os.environ["RECORDED_DEBUGFS"]) / "imx500-fw:10-001a" / "fw_progress"
        steps = 5 if self._story == "stalls" else 10
        for step in range(1, steps + 1):
            progress.write_text(f"2 {step * 1000} 10000\n")
            _hold_the_interpreter(0.05)
        if self._story == "stalls":
            _hold_the_interpreter(60)
        if self._story == "dies":
            os.kill(os.getpid(), 9)
        if self._story == "refuses":
            raise RuntimeError("Failed to start camera")

    def set_controls(self, controls: dict[str, Any]) -> None:
        self._gives_input = controls["CnnEnableInputTensor"]

    def capture_metadata(self) -> dict[str, Any]:
        time.sleep(0.005)
        self._number += 1
        if self._story == "ends" and self._number > 6:
            time.sleep(60)  # libcamera's frontend times out, and nobody is told
        if self._number <= 2:
            return {"SensorTemperature": 38.0}  # the first frames come without an answer
        name = b"other" if self._story == "name" else b"pico"
        # The region is seen in the answer: its left edge, so that a test can tell which one a frame shows.
        lag = 3
        rois = IMX500.made[-1].rois
        self._seen = [*getattr(self, "_seen", []), rois[-1]]
        shown = self._seen[max(0, len(self._seen) - 1 - lag)]
        given = {"CnnInputTensor": [7] * (SIDE * SIDE * 3)} if self._gives_input else {}
        return {
            **given,
            "SensorTemperature": 38.5,
            "CnnOutputTensor": [float(shown[0])] * (SIDE * SIDE),
            "CnnOutputTensorInfo": list(name.ljust(64, b"\0") + bytes(600)),
            "CnnKpiInfo": [13960, 12360],
        }

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


def _hold_the_interpreter(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def recorded_stream() -> Imx500Stream:
    """What ApartDriver makes in the sensor's process."""
    module, devices = ModuleType("picamera2"), ModuleType("picamera2.devices")
    module.Picamera2 = Picamera2  # type: ignore[attr-defined]
    devices.IMX500 = IMX500  # type: ignore[attr-defined]
    sys.modules |= {"picamera2": module, "picamera2.devices": devices}
    return Imx500Stream()
