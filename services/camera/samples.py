"""Samples for the platform: windows and the masks made of them, if somebody wants that; never by default.

The thread that reads frames takes a frame when one is due, the agent's own brings it to the disk, and later to the server.
"""

import json
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from services.camera.disk import Disk
from services.camera.driver import Frame
from services.camera.errors import Unreachable
from services.camera.pictures import mask_png, rgb_png
from services.camera.settings import CameraSettings, SamplePolicy
from services.camera.shelf import Shelf
from services.camera.wire import Wire
from shared.kit.logging import get_logger
from shared.picosam.confidence import soft_iou

log = get_logger(__name__)

FOLDER: Final = "samples"
MOST_AT_ONCE: Final = 16
"""Sent in one conversation with the server: what there is to install must not wait for more."""
MAX_SIDE: Final = 256
"""Pixels; the server takes no larger windows."""
_HOUR_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A frame that is to become a sample. ``at``: by the monotonic clock."""

    package: str
    frame: Frame
    at: float


class Samples:
    """A Watcher of the sensor. ``see`` and ``wants_windows`` are for the thread that reads frames, all else for the agent's."""

    def __init__(
        self,
        wire: Wire,
        disk: Disk,
        folder: Path,
        settings: CameraSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire, self._monotonic = wire, monotonic
        self._shelf = Shelf(disk, folder / FOLDER, settings.samples_kept)
        self._is_on = settings.samples is SamplePolicy.WINDOWS
        self._pause_s = _HOUR_S / settings.samples_per_hour
        self._taken: Taken | None = None
        self._due = self._send_at = 0.0

    @property
    def wants_windows(self) -> bool:
        """Only until the frame that is due has come."""
        return self._is_on and self._taken is None and self._monotonic() >= self._due

    def see(self, package: str | None, frame: Frame) -> None:
        """Takes it if one is due, it is of a proven package, and has a window and a mask that fit each other."""
        if package is not None and self.wants_windows and _is_sample(frame):
            now = self._monotonic()
            self._due = now + self._pause_s
            self._taken = Taken(package, frame, now)

    def begin(self) -> None:
        """Find what waits. Where pixels may not leave the camera (any more), what waits is removed."""
        try:
            if self._is_on:
                self._shelf.open()
            else:
                self._shelf.clear()
        except OSError as exc:
            log.warning("samples.not_read", error=str(exc))

    def keep(self) -> None:
        """Bring what was taken to the disk. If that does not take it, it is lost: samples are worth no installation."""
        taken = self._taken
        if taken is None:
            return
        self._taken = None
        try:
            if not self._shelf.add(json.dumps(self._body(taken)).encode()):
                log.info("sample.no_room")
        except OSError as exc:
            log.warning("sample.not_kept", error=str(exc))

    def forward(self) -> None:
        """Send what waits, oldest first, until the server will not. A power cut at the wrong moment: once more."""
        for _ in range(MOST_AT_ONCE):
            if not self._is_on or not len(self._shelf) or self._monotonic() < self._send_at:
                return
            try:
                self._forward_oldest()
            except Unreachable as exc:
                # The pause is of the samples alone: too many of them are no reason to poll less.
                self._send_at = self._monotonic() + min(exc.retry_after_s or 0.0, _HOUR_S)
                log.info("samples.wait", error=str(exc), waiting=len(self._shelf))
                return
            except OSError as exc:
                log.warning("sample.not_removed", error=str(exc))

    def _forward_oldest(self) -> None:
        reply = None
        if (body := self._oldest()) is not None:
            reply = self._wire.ask("POST", "samples", body)
        if reply is not None and reply.status in {404, 405}:
            log.info("samples.unknown", answer=reply.words)  # a server that speaks DDI alone
            self._is_on = False
            return
        if reply is not None and not reply.is_success:
            log.info("sample.refused", answer=reply.words)  # and would be again
        self._shelf.drop_oldest()

    def _oldest(self) -> dict[str, Any] | None:
        """None for what is no sample: the files are whole, but a card may rot."""
        try:
            body = json.loads(self._shelf.oldest() or b"null")
        except (OSError, ValueError):
            return None
        return body if isinstance(body, dict) else None

    def _body(self, taken: Taken) -> dict[str, Any]:
        """shared.contracts.cameras.SampleIn; ``at`` only where the time is known."""
        output, window = taken.frame.output, taken.frame.window
        assert output is not None, "looked at when it was taken"
        assert window is not None, "looked at when it was taken"
        body = {
            "package": taken.package,
            "window": b64encode(rgb_png(window)).decode(),
            "mask": b64encode(mask_png(output > 0)).decode(),
            "confidence": round(float(soft_iou(output[None])[0]), 4),
        }
        if self._wire.knows_the_time:
            age = timedelta(seconds=self._monotonic() - taken.at)
            body["at"] = (self._wire.now() - age).isoformat()
        return body


def _is_sample(frame: Frame) -> bool:
    window, output = frame.window, frame.output
    if window is None or output is None or output.ndim != 2 or window.shape != (*output.shape, 3):
        return False
    return max(output.shape) <= MAX_SIDE and bool(np.isfinite(output).all())
