"""Programs under guard: what they print, and that nothing of them is left however they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.conftest import wait_until
from workers.packaging.guarded import End, Ended, run

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "MARK": "guarded-test"}

FAMILY = """
(sleep 617 & sleep 617) &
echo started
wait
"""
"""A shell whose grandchildren it knows nothing of, as the converter's scripts start them."""

PARENT = """
import sys
from pathlib import Path
from workers.packaging.guarded import run
run(["sh", "-c", sys.argv[1]], env={"PATH": "/usr/bin:/bin"}, folder=Path("/"), seconds=600, memory_bytes=1 << 40,
    stop_requested=lambda: False, on_line=lambda line: print(line, flush=True))
"""


def guarded(*command: str, seconds: float = 60, memory_bytes: int = 1 << 40, stop=lambda: False) -> tuple[Ended, list[str]]:
    lines: list[str] = []
    ended = run(
        command, env=ENVIRONMENT, folder=Path("/"), seconds=seconds, memory_bytes=memory_bytes, stop_requested=stop,
        on_line=lines.append,
    )  # fmt: skip
    return ended, lines


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture
def family() -> Callable[[], list[psutil.Process]]:
    """This process's descendants but for those of other tests' servers."""
    before = descendants(os.getpid())
    return lambda: [process for process in descendants(os.getpid()) if process not in before]


def are_gone(processes: list[psutil.Process]) -> bool:
    return all(not process.is_running() or process.status() == psutil.STATUS_ZOMBIE for process in processes)


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("exit 255", 255), ("kill -15 $$", 143)]
)
def test_the_status_is_the_programs_own(script, status):
    ended, _ = guarded("sh", "-c", script)
    assert (ended.end, ended.status) == (End.ITSELF, status)


def test_both_outputs_come_as_lines_and_the_environment_is_the_given_one():
    ended, lines = guarded("sh", "-c", "echo one; echo two >&2; env | sort | grep -v ^PWD; printf three")
    assert lines[:2] == ["one", "two"]
    assert lines[-1] == "three"
    assert "MARK=guarded-test" in lines
    assert not any(line.startswith(("HOME=", "PYTHON")) for line in lines)
    assert ended.status == 0


@settings(max_examples=25)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=30), max_size=6))
def test_lines_arrive_as_they_were_printed(lines):
    _, seen = guarded(sys.executable, "-I", "-S", "-c", "import sys; print(*sys.argv[1:], sep='\\n')", *lines)
    assert seen[:-1] == (lines or [""])
    assert seen[-1] == ""


def test_a_program_that_never_ends_its_line_does_not_fill_the_memory():
    script = "import sys; sys.stdout.write('x' * (5 << 20))"
    _, lines = guarded(sys.executable, "-I", "-c", script)
    assert sum(map(len, lines)) == 5 << 20
    assert max(map(len, lines)) < 2 << 20


def test_a_program_that_is_not_there_is_no_success():
    ended, lines = guarded("/nowhere/converter")
    assert ended.status != 0
    assert any("No such file" in line for line in lines)


def test_a_cancel_ends_the_whole_family_at_once(family):
    seen: list[psutil.Process] = []
    asked = 0.0

    def stop() -> bool:
        nonlocal seen, asked
        found = family()
        if not seen and sum(process.name() == "sleep" for process in found) == 2:
            seen, asked = found, time.monotonic()
        return bool(seen)

    ended, _ = guarded("sh", "-c", FAMILY, stop=stop)
    assert ended.end is End.CANCELLED
    assert time.monotonic() - asked < 10
    assert len(seen) >= 4  # the guard, the shell, two sleepers
    assert not any(process.is_running() for process in seen)  # not even as zombies


def test_the_time_limit_ends_the_whole_family(family):
    ended, _ = guarded("sh", "-c", FAMILY, seconds=2)
    assert ended.end is End.TIME
    assert 2 <= ended.seconds < 30
    assert family() == []


def test_the_memory_of_all_processes_together_is_limited(family):
    hungry = "import time; x = bytearray(150 << 20); time.sleep(60)"
    script = f"{sys.executable} -I -S -c '{hungry}' & {sys.executable} -I -S -c '{hungry}' & wait"
    ended, _ = guarded("sh", "-c", script, memory_bytes=250 << 20)
    assert ended.end is End.MEMORY
    assert ended.peak_bytes > 250 << 20
    assert family() == []


def test_orphans_of_a_program_that_ended_are_cleared_away(family):
    ended, _ = guarded("sh", "-c", "sleep 617 & exit 0")
    assert (ended.end, ended.status) == (End.ITSELF, 0)
    assert family() == []


def test_a_listener_that_fails_leaves_nothing_running(family):
    def refuse(_: str) -> None:
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        run(
            ["sh", "-c", FAMILY], env=ENVIRONMENT, folder=Path("/"), seconds=60, memory_bytes=1 << 40,
            stop_requested=lambda: False, on_line=refuse,
        )  # fmt: skip
    assert family() == []


@pytest.mark.faults
def test_the_family_vanishes_with_a_killed_parent():
    command = [sys.executable, "-c", PARENT, FAMILY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        wait_until(lambda: sum(p.name() == "sleep" for p in descendants(parent.pid)) == 2, what="the family")
        started = descendants(parent.pid)
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: are_gone(started), what="the family's end", timeout_s=20)
