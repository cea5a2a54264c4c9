"""Keeps a program from outliving its parent: ``python guard.py PARENT_PID PROGRAM ARGUMENT...``.

The program gets a process group of its own. When the parent ends, however that happens, or asks with SIGTERM, the whole group
is killed and every process of it is reaped: this one adopts orphans. A plain script, so that it starts in 20 ms. The kernel's
PR_SET_PDEATHSIG alone would not do: the converter starts shells that start Javas, and these would not be told.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_REAP_S = 2.0


class Guard:
    """One program and the order to end it, which may come at any moment."""

    def __init__(self) -> None:
        self.ended = False
        self.group: int | None = None

    def end(self, _signal: int, _frame: FrameType | None) -> None:
        """The handler of SIGTERM. Raises nothing: it may interrupt the very start of the program."""
        self.ended = True
        self.kill()

    def run(self, parent: int, command: list[str]) -> int:
        """The program's exit status; 128 plus the signal's number if one ended it, as a shell has it."""
        signal.signal(signal.SIGTERM, self.end)
        _be_told_and_adopt()
        if os.getppid() != parent:  # it ended before the kernel was asked to tell
            return 128 + signal.SIGTERM
        program = subprocess.Popen(command, process_group=0)
        self.group = program.pid
        if self.ended:
            self.kill()
        status = program.wait()
        self.kill()
        _reap()
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        """End all that is left of the program's group."""
        if self.group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, signal.SIGKILL)


def _be_told_and_adopt() -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _reap() -> None:
    """Wait for adopted orphans; not for ever, since one may have left the group."""
    give_up = time.monotonic() + _REAP_S
    with contextlib.suppress(ChildProcessError):  # no child is left
        while time.monotonic() < give_up:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(Guard().run(int(sys.argv[1]), sys.argv[2:]))
