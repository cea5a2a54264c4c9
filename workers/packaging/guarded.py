"""Runs a program under limits of time and memory: its output as lines, and the reason why it ended."""

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

_GUARD: Final = Path(__file__).with_name("guard.py")
_POLL_S: Final = 0.1
_WEIGH_S: Final = 0.5
"""Looking for a program's processes goes through all of the machine's: not too often."""
_END_S: Final = 3.0
_LINE_LIMIT: Final = 1 << 20
"""Bytes. A longer line is cut into several: a program that went mad must not fill our memory."""


class End(StrEnum):
    """Why a program ended."""

    ITSELF = "itself"
    CANCELLED = "cancelled"
    TIME = "time"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run went. ``status`` is 128 plus a signal's number if one ended the program, as a shell has it."""

    end: End
    status: int
    seconds: float
    peak_bytes: int
    """Resident memory of the program and all that it started, together; looked at twice a second."""


def run(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    folder: Path,
    seconds: float,
    memory_bytes: int,
    stop_requested: Callable[[], bool],
    on_line: Callable[[str], None],
) -> Ended:
    """Runs ``command`` in ``folder`` with nothing but ``env``, and kills it with all that it started when a limit is passed.

    ``on_line`` gets both outputs. A cancel, the end of this process and that of the calling thread end it within a fraction
    of a second. The limit on memory is on what is resident: Java reserves address space by the gigabyte, and RLIMIT_AS
    would stop it at once.
    """
    started = time.monotonic()
    argv = [sys.executable, "-I", "-S", str(_GUARD), str(os.getpid()), *map(str, command)]
    process = subprocess.Popen(
        argv, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    watch = _Watch(process.pid, started + seconds, memory_bytes, stop_requested)
    try:
        for line in _lines(process, watch):
            on_line(line)
    finally:
        _end(process)
    return Ended(end=watch.end, status=process.returncode, seconds=time.monotonic() - started, peak_bytes=watch.peak_bytes)


class _Watch:
    """Looks whether the program may go on, and remembers why not."""

    def __init__(self, pid: int, give_up: float, memory_bytes: int, stop_requested: Callable[[], bool]) -> None:
        self._guard, self._give_up = psutil.Process(pid), give_up
        self._memory_bytes, self._stop_requested = memory_bytes, stop_requested
        self.end, self.peak_bytes, self._weighed = End.ITSELF, 0, 0.0

    def may_go_on(self) -> bool:
        """False from the first limit that is passed on."""
        now = time.monotonic()
        if now - self._weighed >= _WEIGH_S:
            self._weighed = now
            self.peak_bytes = max(self.peak_bytes, _resident_bytes(self._guard))
        if self._stop_requested():
            self.end = End.CANCELLED
        elif self.peak_bytes > self._memory_bytes:
            self.end = End.MEMORY
        elif now > self._give_up:
            self.end = End.TIME
        return self.end is End.ITSELF


def _lines(process: "subprocess.Popen[bytes]", watch: _Watch) -> Iterator[str]:
    """What the program prints, until it ends or the watch says so."""
    assert process.stdout is not None
    pipe, rest, looked = process.stdout.fileno(), b"", 0.0
    while True:
        if time.monotonic() - looked >= _POLL_S:  # however much it prints, and not more often than that
            looked = time.monotonic()
            if not watch.may_go_on():
                return
        if not select.select([pipe], [], [], _POLL_S)[0]:
            continue
        chunk = os.read(pipe, 65_536)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
        if not chunk or len(rest) > _LINE_LIMIT:
            yield rest.decode(errors="replace")
            rest = b""
        if not chunk:  # both have ended, or will in a moment
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
            return


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Let the guard clear away what is left; do it ourselves if it cannot."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        for left in _descendants(psutil.Process(process.pid)):
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _descendants(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _resident_bytes(guard: psutil.Process) -> int:
    total = 0
    for process in _descendants(guard):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total
