"""The processes that belong to a platform, found by the mark in their environment: also orphans that no supervisor knows."""

import contextlib
import os
from collections.abc import Iterable

import psutil

from infra.embedded.home import Home
from infra.embedded.programs import MARKER


def members(home: Home) -> list[psutil.Process]:
    """All living processes of this home's platform, this process excepted."""
    return [process for process in psutil.process_iter() if process.pid != os.getpid() and _belongs(process, home)]


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run: same pid *and* same start, and not merely waiting to be reaped."""
    return [process for process in processes if is_alive(process)]


def is_alive(process: psutil.Process) -> bool:
    """True if this very process still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: list[psutil.Process], *, grace_s: float = 3.0) -> list[psutil.Process]:
    """Terminate, then kill; gives back those that live on in spite of that."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(alive(processes), timeout=grace_s)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive(stubborn), timeout=grace_s)
    return alive(processes)


def _belongs(process: psutil.Process, home: Home) -> bool:
    try:
        if process.uids().real != os.getuid():
            return False
        return _is_marked(process, home) and is_alive(process)
    except (psutil.Error, OSError):
        return False  # gone meanwhile, or not ours to look at


def _is_marked(process: psutil.Process, home: Home) -> bool:
    if process.environ().get(MARKER) == str(home.path):
        return True
    # Redis writes its title over its environment; it works in a folder where nobody else has any business.
    return process.name().startswith("redis") and process.cwd() == str(home.run)
