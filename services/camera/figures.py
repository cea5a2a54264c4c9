"""What is counted of the frames between two telemetries."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.camera.driver import Frame

_GAP: Final = 2.5
"""Times the usual pause between frames: from there on frames are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Sums over a span of time; spans add up."""

    span_s: float = 0.0
    frames: int = 0
    missing: int = 0
    dnn_ms: float = 0.0
    dsp_ms: float = 0.0
    timed: int = 0
    mask_area: float = 0.0

    def __add__(self, other: "Span") -> "Span":
        names = ("span_s", "frames", "missing", "dnn_ms", "dsp_ms", "timed", "mask_area")
        return Span(**{name: getattr(self, name) + getattr(other, name) for name in names})


class Figures:
    """Written by the thread that reads frames, taken by the one that talks."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._sum = Span()
        self._began = monotonic()
        self._last: float | None = None
        self._pause_s: float | None = None

    def count(self, frame: Frame) -> None:
        """One more."""
        missing = self._gap() + (frame.output is None)
        area = 0.0 if frame.output is None else float((frame.output > 0).mean())
        timed = frame.dnn_ms is not None and frame.output is not None
        one = Span(
            frames=int(frame.output is not None),
            missing=missing,
            dnn_ms=frame.dnn_ms or 0.0 if timed else 0.0,
            dsp_ms=frame.dsp_ms or 0.0 if timed else 0.0,
            timed=int(timed),
            mask_area=area,
        )
        with self._lock:
            self._sum += one

    def silence(self, seconds: float) -> None:
        """So long no frame came, and going by the usual pause so many should have."""
        missing = round(seconds / self._pause_s) if self._pause_s else 1
        with self._lock:
            self._sum += Span(missing=missing)

    def take(self) -> Span:
        """What came since this was asked last."""
        now = self._monotonic()
        with self._lock:
            taken, self._sum = self._sum, Span()
            taken, self._began = taken + Span(span_s=now - self._began), now
        return taken

    def new_stream(self) -> None:
        """The pause before its first frame is none between frames."""
        self._last = self._pause_s = None

    def moved(self) -> None:
        """The region did: the frames that are dropped after that are not missing."""
        self._last = None

    def _gap(self) -> int:
        """Frames that should have come since the one before, going by the usual pause."""
        now = self._monotonic()
        last, self._last = self._last, now
        if last is None:
            return 0
        pause = now - last
        if self._pause_s is None:
            self._pause_s = pause
            return 0
        usual = self._pause_s
        self._pause_s += 0.05 * (min(pause, _GAP * usual) - usual)
        return round(pause / usual) - 1 if usual > 0 and pause > _GAP * usual else 0
