"""How heavy the agent is: what it imports, how long that takes, and what it costs while nothing happens."""

import json
import os
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path

import psutil
import pytest

from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import StubServer, listening, until

ROOT = Path(__file__).parents[3]
TOO_HEAVY = ("PIL", "torch", "fastapi", "starlette", "sqlalchemy", "uvicorn", "celery", "onnxruntime", "picamera2")
FROM_THE_SYSTEM = {"numpy", "pillow"}
"""A Raspberry Pi brings both: picamera2 needs them. The agent itself does without Pillow, unless the sensor is simulated."""

PROGRAM = """
import json, sys, time
begun = time.perf_counter()
import services.camera.__main__, services.camera.doctor, services.camera.drivers.imx500
taken = time.perf_counter() - begun
has_page = "services.camera.page.server" in sys.modules
print(json.dumps({"seconds": taken, "has_page": has_page, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def test_nothing_heavy_is_imported() -> None:
    taken = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        )
        found = json.loads(done.stdout)
        taken.append(found["seconds"])
    print(f"\nimporting the agent: {min(taken):.2f} s")
    assert not set(TOO_HEAVY) & set(found["modules"])
    assert not found["has_page"]
    assert min(taken) < 3


def test_what_is_installed_for_it_is_small() -> None:
    sizes = {name: _size(name) for name in sorted(_wanted("camera"))}
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        print(f"\n{name:24} {size / 1e6:6.1f} MB", end="")
    total = sum(size for name, size in sizes.items() if name not in FROM_THE_SYSTEM)
    print(f"\nall but {', '.join(sorted(FROM_THE_SYSTEM))}: {total / 1e6:.1f} MB")
    assert not set(TOO_HEAVY) & set(sizes)
    assert total < 40e6


def _wanted(extra: str) -> set[str]:
    """Names of what is installed with us and this extra, and of what that brings."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [*project["dependencies"], *project["optional-dependencies"][extra]]
    return set().union(*(_brought(_name(line), set()) for line in named))


def _brought(name: str, seen: set[str]) -> set[str]:
    for line in requires(name) or [] if name not in seen else []:
        if "extra ==" not in line and "platform" not in line and "python_" not in line:
            seen = seen | {name} | _brought(_name(line), seen | {name})
    return seen | {name}


def _name(line: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower()


def _size(name: str) -> int:
    files = distribution(name).files or []
    return sum(path.stat().st_size for file in files if (path := Path(str(file.locate()))).is_file() and path.suffix != ".pyc")


@pytest.mark.slow
def test_an_idle_agent_takes_little_memory_and_hardly_any_time(server: StubServer, package: Maker, tmp_path: Path) -> None:
    told = {
        "CONTROLLER_ID": "cam-1",
        "TOKEN": "secret-of-cam-1",
        "FOLDER": str(tmp_path / "camera"),
        "KEYS_FILE": str(package.keys),
        "TELEMETRY_S": "1",
    }
    with listening(server) as url:
        server.sleep = "00:00:02"
        environment = {f"PICOFLEET_CAMERA_{name}": value for name, value in (told | {"URL": url}).items()}
        environment |= os.environ | {"PYTHONPATH": str(ROOT)}
        agent = subprocess.Popen(
            [sys.executable, "-m", "services.camera"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
        )
        try:
            until(lambda: len(server.requests) > 3, "polls", timeout_s=60)
            process = psutil.Process(agent.pid)
            before, begun = _cpu_s(process), time.monotonic()
            time.sleep(12)
            share = (_cpu_s(process) - before) / (time.monotonic() - begun)
            memory = process.memory_info().rss
        finally:
            agent.terminate()
            assert agent.wait(30) == 0
    print(f"\nidle: {share:.2%} of a core at a poll each 2 s, {memory / 1e6:.0f} MB")
    assert share < 0.01
    assert memory < 120e6


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
