"""A job's processes as their supervisor sees them: started, told to start and to stop, watched and killed."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from workers.harness.channel import CHANNEL_VARIABLE, Assignment, Link, Message, Switchboard
from workers.harness.kinds import Modules, to_arguments

# The kernel ties a child's life to the *thread* that forked it (PR_SET_PDEATHSIG): this one lives as long as the process.
_SPAWNER = ThreadPoolExecutor(1, thread_name_prefix="spawner")
_REPOSITORY = Path(__file__).resolve().parents[2]


class Child:
    """One started child, or torchrun and its ranks. Owned by one thread; messages arrive on others."""

    def __init__(self, modules: Modules, *, processes: int = 1) -> None:
        self.started = time.monotonic()
        self.heard = self.started
        """When the child last said something, on the monotonic clock."""
        self._links: list[Link] = []
        self._groups: set[int] = set()
        self._changed = threading.Condition()
        self._listeners = 0
        self._assignment: Assignment | None = None
        self._on_message: Callable[[Message], None] = lambda _: None
        self._switchboard = Switchboard(self._serve)
        self._output = self._switchboard.folder / "output"
        with self._output.open("ab") as file:
            self._process = _SPAWNER.submit(_spawn, modules, processes, self._switchboard.path, file).result()
        self._groups.add(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id of the child (of torchrun, if there are several ranks)."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it lives."""
        return self._process.poll()

    def start(self, assignment: Assignment, on_message: Callable[[Message], None]) -> None:
        """Give the child its job; ``on_message`` gets all it says, on other threads, one message at a time."""
        with self._changed:
            self._assignment, self._on_message = assignment, on_message
            self.heard = time.monotonic()
            for link in self._links:
                _assign(link, assignment)

    def stop(self) -> None:
        """Ask it to save its work and end."""
        with self._changed:
            for link in self._links:
                link.send("stop")

    def kill(self) -> None:
        """End it and all it started, at once and for sure."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):  # all of this group has ended
                os.killpg(group, signal.SIGKILL)
        self._groups.clear()  # these numbers may soon belong to others
        self._process.wait()

    def drain(self, timeout_s: float) -> None:
        """Wait until everything that a dead child said has been handed on."""
        with self._changed:
            self._changed.wait_for(lambda: self._listeners == 0, timeout_s)

    def close(self) -> None:
        """Kill what is left and forget the child."""
        self.kill()
        self._switchboard.close()
        with self._changed:
            for link in self._links:
                link.hang_up()
        self.drain(2)

    def last_lines(self, count: int = 20) -> list[str]:
        """What it last printed."""
        text = self._output.read_bytes()[-16_384:].decode(errors="replace")
        return [line for line in text.splitlines() if line.strip()][-count:]

    def _serve(self, link: Link) -> None:
        self._join(link)
        try:
            while (message := link.receive()) is not None:
                self._hear(message)
        finally:
            with self._changed:
                self._links.remove(link)
                link.close()
                self._listeners -= 1
                self._changed.notify_all()

    def _join(self, link: Link) -> None:
        with self._changed:
            self._listeners += 1
            self._links.append(link)
            if self._assignment is not None:
                _assign(link, self._assignment)

    def _hear(self, message: Message) -> None:
        with self._changed:
            self.heard = time.monotonic()
            if message["kind"] == "hello":
                self._groups.add(message["group"])
            else:
                self._on_message(message)


def _assign(link: Link, assignment: Assignment) -> None:
    link.send("start", assignment=assignment.model_dump(mode="json"))


def _spawn(modules: Modules, processes: int, channel: str, output: IO[bytes]) -> "subprocess.Popen[bytes]":
    several = ["--processes", str(processes)] if processes > 1 else []
    return subprocess.Popen(
        [sys.executable, "-m", "workers.harness.child", *several, *to_arguments(modules)],
        cwd=_REPOSITORY,
        env=os.environ | {CHANNEL_VARIABLE: channel, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a group of its own: the kill reaches whatever the job started
    )
