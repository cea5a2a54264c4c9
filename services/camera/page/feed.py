"""What the page shows: the newest frame, for whoever watches. Without anybody nothing is kept, encoded, or even counted."""

import json
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from services.camera.driver import Frame
from services.camera.pictures import mask_png, rgb_png
from services.camera.roi import SENSOR
from services.camera.telling import Status

MOST_WATCHERS: Final = 4
_RATE_FRAMES: Final = 30
_PATIENCE_S: Final = 1.0
"""Without a frame: from then on the rate falls."""


class TooManyWatch(Exception):
    """So many that the camera has no time for more."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame to be shown. ``number``: counts those."""

    number: int
    package: str | None
    frame: Frame


class Feed:
    """A Watcher of the sensor. ``see`` is called by the thread that reads frames, all else by those of the page."""

    def __init__(
        self, status: Callable[[], Status], *, frames_per_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._status, self._monotonic, self._pause_s = status, monotonic, 1 / frames_per_s
        self._changed = threading.Condition()
        self._watchers = 0
        self._number = 0
        self._shown: Shown | None = None
        self._due = 0.0
        self._came: deque[float] = deque(maxlen=_RATE_FRAMES)
        self._drawing = threading.Lock()
        self._drawn: tuple[int, dict[str, Any]] | None = None

    @property
    def wants_windows(self) -> bool:
        """Somebody watches."""
        return self._watchers > 0

    def see(self, package: str | None, frame: Frame) -> None:
        """Wakes those who watch, if it is time for another frame."""
        if self._watchers == 0:
            return
        now = self._monotonic()
        with self._changed:
            self._came.append(now)
            if now >= self._due:
                self._due, self._number = max(self._due + self._pause_s, now), self._number + 1
                self._shown = Shown(self._number, package, frame)
                self._changed.notify_all()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """As long as this lasts, frames are shown. TooManyWatch."""
        with self._changed:
            if self._watchers >= MOST_WATCHERS:
                raise TooManyWatch
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1
                if self._watchers == 0:
                    self._shown = self._drawn = None
                    self._came.clear()

    def after(self, number: int, timeout_s: float) -> Shown | None:
        """The newest frame, once it is newer than ``number``; None if none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_newer(number), timeout_s)
            return self._shown if self._is_newer(number) else None

    def message(self, shown: Shown | None) -> bytes:
        """JSON of a frame, if there is one, and of how the camera is."""
        told = {**asdict(self._status()), "sensor": [SENSOR[1], SENSOR[0]], "frames_per_s": self._rate()}
        return json.dumps({**told, "frame": None if shown is None else self._picture(shown)}).encode()

    def _is_newer(self, number: int) -> bool:
        return self._shown is not None and self._shown.number > number

    def _rate(self) -> float:
        """Frames per second of late."""
        with self._changed:
            if len(self._came) < 2:
                return 0.0
            first, last = self._came[0], self._came[-1]
            span_s = max(last - first, self._monotonic() - first - _PATIENCE_S)
            return round((len(self._came) - 1) / span_s, 1) if span_s > 0 else 0.0

    def _picture(self, shown: Shown) -> dict[str, Any]:
        """Drawn once, for all who watch."""
        with self._drawing:
            if self._drawn is None or self._drawn[0] != shown.number:
                self._drawn = shown.number, _drawn(shown)
            return self._drawn[1]


def _drawn(shown: Shown) -> dict[str, Any]:
    frame, roi = shown.frame, shown.frame.roi
    mask = frame.output > 0 if frame.output is not None and frame.output.ndim == 2 else None
    return {
        "number": shown.number,
        "package": shown.package,
        "roi": [roi.x, roi.y, roi.width, roi.height],
        "dnn_ms": frame.dnn_ms,
        "dsp_ms": frame.dsp_ms,
        "network": frame.network,
        "area": None if mask is None else round(float(np.mean(mask)), 5),
        "mask": None if mask is None else b64encode(mask_png(mask)).decode(),
        "window": None if frame.window is None else b64encode(rgb_png(frame.window)).decode(),
    }
