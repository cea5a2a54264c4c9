"""Children without a job: how they start, and that they never outlive whoever started them."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from shared.contracts.jobs import JobKind
from tests.workers.conftest import TRIALS, wait_until
from workers.harness.process import Child

PARENT = """
import sys, time
from shared.contracts.jobs import JobKind
from workers.harness.process import Child
child = Child({JobKind.MODEL_IMPORT: sys.argv[1]})
while not child._links:
    time.sleep(0.01)
print(child.pid, flush=True)
time.sleep(600)
"""


def is_gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_closed_child_leaves_neither_process_nor_socket():
    child = Child(TRIALS)
    process, path = psutil.Process(child.pid), child._switchboard.path
    child.close()
    assert is_gone(process)
    assert not os.path.exists(path)  # noqa: PTH110


@pytest.mark.faults
@pytest.mark.parametrize("moment_s", [0.0, 2.0])
def test_a_child_vanishes_with_its_killed_supervisor(moment_s):
    command = [sys.executable, "-c", PARENT, TRIALS[JobKind.MODEL_IMPORT]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        time.sleep(moment_s)
        assert not is_gone(child)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: is_gone(child), what="the child's end", timeout_s=2)


@pytest.mark.faults
def test_a_child_that_hangs_with_blocked_threads_vanishes_too():
    # Stopped, so that no thread of its own can notice anything: only the kernel can end it.
    command = [sys.executable, "-c", PARENT, TRIALS[JobKind.MODEL_IMPORT]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        child.suspend()
        parent.send_signal(signal.SIGKILL)
    try:
        wait_until(lambda: is_gone(child), what="the child's end", timeout_s=2)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
