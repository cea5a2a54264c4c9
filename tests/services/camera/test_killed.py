"""Real processes, killed: at changes of the disk, and by a sensor that takes the process with it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import StubServer, listening, until

pytestmark = [pytest.mark.faults, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
NEVER = 100_000


def run_child(url: str, folder: Path, keys: Path, at: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.services.camera.child", url, str(folder), str(keys), str(at)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in {0, 9}, done.stderr
    return done.returncode, done.stdout.splitlines()[-1] if done.stdout else ""


@pytest.mark.parametrize("at", [3, 30, 75, 90, 103])
def test_a_process_that_dies_is_followed_by_one_that_ends_what_it_began(
    server: StubServer, package: Maker, tmp_path: Path, at: int
) -> None:
    folder = tmp_path / "camera"
    with listening(server) as url:
        server.offer(package(7))
        assert run_child(url, folder, package.keys, NEVER) == (0, "picosam2/7")
        offer = server.offer(package(8))
        code, _ = run_child(url, folder, package.keys, at)
        assert code == 9
        assert run_child(url, folder, package.keys, NEVER) == (0, "picosam2/8")
    assert offer.end == "success"


def test_a_sensor_that_kills_the_agent_twice_is_believed(server: StubServer, package: Maker, tmp_path: Path) -> None:
    """As a supervisor starts it again and again: the package fails, and the server is told."""
    images = tmp_path / "images"
    images.mkdir()
    told = {
        "PICOFLEET_CAMERA_CONTROLLER_ID": "cam-1",
        "PICOFLEET_CAMERA_TOKEN": "secret-of-cam-1",
        "PICOFLEET_CAMERA_FOLDER": str(tmp_path / "camera"),
        "PICOFLEET_CAMERA_KEYS_FILE": str(package.keys),
        "PICOFLEET_CAMERA_DRIVER": "simulated",
        "PICOFLEET_CAMERA_IMAGES": str(images),
        "PICOFLEET_CAMERA_UPLOAD_S": "0.1",
        "PICOFLEET_CAMERA_FAULT": "crash",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "services.camera"]
    with listening(server) as url:
        server.sleep = "00:00:01"
        offer = server.offer(package(7))
        environment = os.environ | told | {"PICOFLEET_CAMERA_URL": url}
        codes = []
        for _ in range(2):
            agent = subprocess.run(
                [sys.executable, "-m", "services.camera"],
                cwd=ROOT,
                env=environment,
                timeout=60,
                capture_output=True,
                check=False,
            )
            codes.append(agent.returncode)
        last = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
        try:
            until(lambda: offer.end is not None, "the end", timeout_s=60)
        finally:
            last.terminate()
            assert last.wait(30) == 0
    assert codes == [70, 70]
    assert offer.end == "failure"
    assert "the agent ended 2 times while this was loaded" in offer.words
