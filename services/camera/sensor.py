"""The sensor under watch: a driver may hang, lie or die, and none of it may stop the agent."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Final, Protocol

from services.camera.driver import Driver, DriverError, Frame
from services.camera.errors import InstallFailed, SensorFailed, SensorStuck
from services.camera.figures import Figures
from services.camera.prompts import MakePrompts, Prompts, policy_of
from services.camera.proof import check_frames, check_golden, expected_of
from services.camera.settings import CameraSettings
from shared.contracts.cameras import GoldenCheck
from shared.kit.logging import get_logger
from shared.kit.packages.errors import PackageError

log = get_logger(__name__)

CLOSING_S: Final = 10.0
"""So long a driver may take to give up."""
_LOOK_S: Final = 0.05
_MOST_WAITING: Final = 16
"""Frames that wait to be proven; after that they are only counted."""


class Watcher(Protocol):
    """Sees every frame. Called by the thread that reads them: it must be quick, and raise nothing."""

    @property
    def wants_windows(self) -> bool:
        """Whether it has use for pixels now; a driver gives none that nobody wants."""

    def see(self, package: str | None, frame: Frame) -> None:
        """One more frame. ``package``: that made it; None while it is not proven yet."""


class Sensor:
    """One driver, and at most one thread that reads its frames."""

    def __init__(
        self,
        driver: Driver,
        settings: CameraSettings,
        make_prompts: MakePrompts,
        figures: Figures,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self._driver, self._settings, self._figures = driver, settings, figures
        self._make_prompts, self._watchers = make_prompts, watchers
        self._gives_windows = False
        self.last_error = ""
        """Of the stream; empty again once something runs."""
        self._reader: threading.Thread | None = None
        self._first: Queue[Frame | None] = Queue(_MOST_WAITING)
        self._last_frame = 0.0
        self._stopping = threading.Event()
        self.package: str | None = None
        """That runs; None: nothing does."""

    @property
    def is_silent(self) -> bool:
        """Something should run, and no frame has come for too long."""
        return self.package is not None and time.monotonic() - self._last_frame > self._settings.silence_s

    @property
    def temperature(self) -> float | None:
        """In degrees Celsius."""
        try:
            return self._driver.temperature()
        except (DriverError, OSError):
            return None

    def finish(self, package: Path, folder: Path) -> Path | None:
        """What the sensor needs beside the package. InstallFailed."""
        try:
            return self._driver.finish(package, folder)
        except DriverError as exc:
            raise InstallFailed(str(exc)) from exc

    def run(self, name: str, package: Path, finished: Path, *, on_loaded: Callable[[], None] = lambda: None) -> GoldenCheck:
        """Load a verified package and prove it; ``on_loaded`` is called between the two. SensorFailed, SensorStuck."""
        self.stop()
        try:
            expected = expected_of(package)
            prompts = self._make_prompts(policy_of(package))
            self._load(package, finished)
            on_loaded()
            golden = self._proven(lambda: check_golden(self._driver, expected), "the self test")
            self._read(prompts)
            check_frames(self._first_frames(), expected, max_dnn_ms=self._settings.max_dnn_ms)
        except (PackageError, DriverError, ValueError) as exc:
            self.stop()
            raise SensorFailed(str(exc)) from exc
        except BaseException:
            self.stop()
            raise
        self.package, self.last_error = name, ""
        return golden

    def stop(self) -> None:
        """End the stream. SensorStuck if the driver does not let go."""
        self.package = None
        self._stopping.set()
        self._close()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.join(CLOSING_S)
            if reader.is_alive():
                raise SensorStuck("the sensor's stream does not end")

    def _close(self) -> None:
        try:
            self._driver.close()
        except (DriverError, OSError) as exc:
            log.warning("sensor.close_failed", error=str(exc))

    def _load(self, package: Path, finished: Path) -> None:
        """With a watchdog: progress must move, and the whole may not take for ever."""
        moved = [time.monotonic()]
        seen = [(-1, -1)]

        def on_progress(done: int, total: int) -> None:
            if (done, total) != seen[0]:
                seen[0], moved[0] = (done, total), time.monotonic()

        def overdue() -> str | None:
            now = time.monotonic()
            done, total = seen[0]
            # A driver that cannot see the progress says (0, 0); then only the limit of the whole counts.
            if total != 0 and now - moved[0] > self._settings.stall_s:
                where = f" at {done:,} of {total:,} bytes" if total > 0 else ""
                return f"the upload stalled{where}: nothing moved for {self._settings.stall_s:g} s"
            over = now - begun > self._settings.load_s
            return f"the upload took longer than {self._settings.load_s:g} s" if over else None

        begun = time.monotonic()
        self._watched(lambda: self._driver.load(package, finished, on_progress), overdue)

    def _proven(self, work: Callable[[], GoldenCheck], what: str) -> GoldenCheck:
        begun, found = time.monotonic(), list[GoldenCheck]()
        limit_s = self._settings.load_s

        def overdue() -> str | None:
            return f"{what} took longer than {limit_s:g} s" if time.monotonic() - begun > limit_s else None

        self._watched(lambda: found.append(work()), overdue)
        return found[0]

    def _watched(self, work: Callable[[], object], overdue: Callable[[], str | None]) -> None:
        """Do it in a thread of its own until it is ``overdue``, which gives the reason. SensorFailed, SensorStuck."""
        raised: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as exc:  # handed over to the thread that waits
                raised.append(exc)

        thread = threading.Thread(target=guarded, name="sensor-work", daemon=True)
        thread.start()
        reason = None
        while thread.is_alive() and reason is None:
            thread.join(_LOOK_S)
            reason = overdue() if thread.is_alive() else None
        if reason is not None:
            self._close()
            thread.join(CLOSING_S)
            raise (SensorStuck if thread.is_alive() else SensorFailed)(reason)
        if raised:
            raise raised[0] if isinstance(raised[0], DriverError | SensorFailed | PackageError) else _unexpected(raised[0])

    def _read(self, prompts: Prompts) -> None:
        self._first, self._stopping = Queue(_MOST_WAITING), threading.Event()
        self._last_frame = time.monotonic()
        self._figures.new_stream()
        arguments = (prompts, self._first, self._stopping)
        self._reader = threading.Thread(target=self._follow, args=arguments, name="sensor-frames", daemon=True)
        self._reader.start()

    def _follow(self, prompts: Prompts, first: "Queue[Frame | None]", stopping: threading.Event) -> None:
        """The reader: counts frames, and lets the prompts move the region."""
        self._gives_windows = False
        try:
            roi = prompts.first()
            self._driver.set_roi(roi)
            for frame in self._driver.frames():
                if stopping.is_set():
                    return
                self._last_frame = time.monotonic()
                self._figures.count(frame)
                if not first.full():
                    first.put_nowait(frame)
                self._show(frame)
                if (following := prompts.following(frame)) != roi:
                    roi = following
                    self._driver.set_roi(roi)
                    self._figures.moved()
        except Exception as exc:  # a driver is not ours to trust; that no more frames come is noticed
            error = f"{type(exc).__name__}: {exc}"[:300]
            log.warning("sensor.stream_failed", error=error)
            if not stopping.is_set():
                self.last_error = error
        finally:
            if not first.full():
                first.put_nowait(None)

    def _show(self, frame: Frame) -> None:
        for watcher in self._watchers:
            watcher.see(self.package, frame)
        wanted = any(watcher.wants_windows for watcher in self._watchers)
        if wanted != self._gives_windows:
            self._gives_windows = wanted
            self._driver.give_windows(wanted)

    def _first_frames(self) -> Iterator[Frame]:
        """Until as many were answered as are to be; the very first ones of a stream often are not."""
        give_up = time.monotonic() + self._settings.first_frames_s
        answered = 0
        for number in range(_MOST_WAITING):
            try:
                frame = self._first.get(timeout=max(0.0, give_up - time.monotonic()))
            except Empty as exc:
                raise SensorFailed(f"{number} frames came in {self._settings.first_frames_s:g} s after the upload") from exc
            if frame is None:
                raise SensorFailed(f"the stream ended after {number} frames")
            yield frame
            answered += frame.output is not None
            if answered >= min(self._settings.first_frames, _MOST_WAITING // 2):
                return
        raise SensorFailed(f"{_MOST_WAITING - answered} of {_MOST_WAITING} frames came without an output tensor")


def _unexpected(exc: BaseException) -> BaseException:
    if isinstance(exc, Exception):
        return SensorFailed(f"the driver failed: {type(exc).__name__}: {exc}"[:300])
    return exc
