import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.embedded import members
from infra.embedded.home import Home
from infra.embedded.programs import MARKER

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[subprocess.Popen[bytes]] = []

    def run(code: str = "import time; print(flush=True); time.sleep(60)", home: Path = tmp_path) -> "subprocess.Popen[bytes]":
        environment = os.environ | {MARKER: str(home)}
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        made.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield run
    for process in made:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_only_processes_of_this_home_are_members(start: Start, tmp_path: Path) -> None:
    mine, other = start(), start(home=tmp_path / "other")
    pids = [process.pid for process in members.members(Home(tmp_path))]
    assert mine.pid in pids
    assert other.pid not in pids


def test_a_grandchild_in_a_group_of_its_own_is_a_member(start: Start, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60'], start_new_session=True); print(p.pid, flush=True)"
    )
    start(code)
    time.sleep(0.1)
    found = members.members(Home(tmp_path))
    assert [process.name() for process in found] == ["sleep"]
    assert members.end(found) == []
    assert members.members(Home(tmp_path)) == []


def test_one_that_ignores_sigterm_is_killed(start: Start, tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    handle = psutil.Process(start(code).pid)
    assert members.end(members.members(Home(tmp_path)), grace_s=0.3) == []
    assert not members.is_alive(handle)


def test_a_process_that_waits_to_be_reaped_is_not_alive(start: Start) -> None:
    process = start("print(flush=True)")
    handle = psutil.Process(process.pid)
    deadline = time.monotonic() + 10
    while handle.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not members.is_alive(handle)
