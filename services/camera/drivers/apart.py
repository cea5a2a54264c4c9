"""A driver in a process of its own, which can be killed.

libcamera's Python binding keeps the interpreter's lock while it starts a stream, and the IMX500's kernel driver uploads the
network in that very call: for minutes nothing else runs in the process, no watchdog either, and a call that hangs cannot be
ended (`src/py/libcamera/py_main.cpp` has no gil_scoped_release). So the sensor's process does that alone, and dies for it.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.camera.driver import Driver, DriverError, Frame, NotSupported, Progress
from services.camera.roi import Roi

_LOOK_S: Final = 0.2
_PARTING_S: Final = 3.0
"""So long the process may take to stop its stream, before it is killed."""

Finish = Callable[[Path, Path], Path | None]
Watch = Callable[[], tuple[int, int] | None]
"""How far an upload is, looked at from outside of the process that does it; None if that cannot be seen."""


class ApartDriver:
    """``make`` is called in the other process, and so must be picklable; a new process for each load."""

    def __init__(self, make: Callable[[], Driver], finish: Finish, watch: Watch) -> None:
        self._make, self._finish, self._watch = make, finish, watch
        self._process: BaseProcess | None = None
        self._line: Connection | None = None
        self._celsius: float | None = None
        self._roi: Roi | None = None

    def finish(self, package: Path, folder: Path) -> Path | None:
        """Here: it needs no sensor. DriverError."""
        return self._finish(package, folder)

    def load(self, package: Path, finished: Path, on_progress: Progress) -> None:
        """In a new process. DriverError, also if that dies."""
        self.close()
        context = multiprocessing.get_context("spawn")
        line, other = context.Pipe()
        process = context.Process(target=_serve, args=(self._make, other), name="sensor", daemon=True)
        process.start()
        other.close()
        self._process, self._line, self._roi = process, line, None
        self._send(("load", package, finished))
        while not self._has_answer():
            on_progress(*(self._watch() or (0, 0)))
        self._answer()

    def frames(self) -> Iterator[Frame]:
        """As the other process gets them. DriverError if it dies."""
        self._send(("frames",))
        while True:
            while not self._has_answer():
                pass
            if (found := self._answer()) is None:
                return
            frame, self._celsius = found
            yield frame

    def set_roi(self, roi: Roi) -> None:
        """Told between two frames."""
        if roi != self._roi:
            self._roi = roi
            self._send(("roi", roi))

    def give_windows(self, wanted: bool) -> None:
        """Told between two frames."""
        self._send(("windows", wanted))

    def inject(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """In the other process. NotSupported, DriverError."""
        self._send(("inject", frames))
        while not self._has_answer():
            pass
        answer: NDArray[np.float32] = self._answer()
        return answer

    def temperature(self) -> float | None:
        """With the newest frame."""
        return self._celsius

    def close(self) -> None:
        """Ask the process to end, and kill it if it does not."""
        process, line = self._process, self._line
        self._process = self._line = None
        if process is None or line is None:
            return
        with suppress(OSError):  # it may be dead already
            line.send(("close",))
        process.join(_PARTING_S)
        if process.is_alive():
            process.kill()
            process.join(_PARTING_S)
        line.close()

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            if self._line is None:
                raise DriverError("no network is loaded")
            self._line.send(message)
        except OSError as exc:
            raise DriverError(self._obituary()) from exc

    def _has_answer(self) -> bool:
        """After a moment's wait."""
        line = self._line
        try:
            return line is None or line.poll(_LOOK_S)
        except OSError:
            return True

    def _answer(self) -> Any:
        """What the process says next. What was raised there is raised here."""
        try:
            if self._line is None:
                raise DriverError("closed")
            kind, value = self._line.recv()
        except (OSError, EOFError) as exc:
            raise DriverError(self._obituary()) from exc
        if kind == "unsupported":
            raise NotSupported(value)
        if kind == "failed":
            raise DriverError(value)
        return value

    def _obituary(self) -> str:
        process = self._process
        if process is None:
            return "closed"
        process.join(_PARTING_S)
        return f"the sensor's process ended with exit code {process.exitcode}"


def _serve(make: Callable[[], Driver], line: Connection) -> None:
    """The other process: does what it is told, until the line is cut."""
    driver = make()
    while True:
        try:
            message = line.recv()
        except (EOFError, OSError):
            return driver.close()
        try:
            match message:
                case ("close",):
                    return driver.close()
                case ("load", package, finished):
                    driver.load(package, finished, lambda *_: None)
                    line.send(("done", None))
                case ("inject", frames):
                    line.send(("done", driver.inject(frames)))
                case ("roi", roi):
                    driver.set_roi(roi)
                case ("windows", wanted):
                    driver.give_windows(wanted)
                case ("frames",):
                    _stream(driver, line)
        except NotSupported as exc:
            line.send(("unsupported", str(exc)))
        except (BrokenPipeError, EOFError):
            return driver.close()
        except Exception as exc:  # whatever a driver raises is told, in words
            line.send(("failed", str(exc) if isinstance(exc, DriverError) else f"{type(exc).__name__}: {exc}"[:300]))


def _stream(driver: Driver, line: Connection) -> None:
    for frame in driver.frames():
        line.send(("frame", (frame, driver.temperature())))
        while line.poll():
            match line.recv():
                case ("roi", roi):
                    driver.set_roi(roi)
                case ("windows", wanted):
                    driver.give_windows(wanted)
                case ("close",):
                    raise EOFError
    line.send(("end", None))
