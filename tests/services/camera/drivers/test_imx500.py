"""The IMX500's driver against a double of picamera2, in a process of its own as on the camera."""

import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from services.camera.agent import Agent
from services.camera.driver import DriverError, NotSupported
from services.camera.drivers.apart import ApartDriver
from services.camera.drivers.imx500 import finish_rpk, upload_progress
from services.camera.roi import Roi
from shared.contracts.cameras import GoldenCheck
from shared.kit.packages import tars
from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import StubServer, until
from tests.services.camera.drivers.recorded import recorded_stream
from tests.services.camera.test_agent import talk
from tests.shared.kit.rpk.making import an_rpk

Start = Callable[..., Agent]


@pytest.fixture
def debugfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "debug"
    (folder / "imx500-fw:10-001a").mkdir(parents=True)
    (folder / "imx500-fw:10-001a" / "fw_progress").write_text("0 0 0\n")
    monkeypatch.setenv("RECORDED_DEBUGFS", str(folder))
    monkeypatch.setenv("RECORDED_STORY", "good")
    monkeypatch.setenv("RECORDED_WHERE", "")
    return folder


@pytest.fixture
def packager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`imx500-package`, as far as we know it."""
    rpk = tmp_path / "made.rpk"
    rpk.write_bytes(an_rpk())
    tool = tmp_path / "bin" / "imx500-package"
    tool.parent.mkdir()
    made = f'cp {rpk} "$4/network.rpk" && echo log > "$4/log.txt"'
    tool.write_text(f'#!/bin/sh\n[ "$1" = -i ] && [ -f "$2" ] && [ "$3" = -o ] && {made}\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    return tool


@pytest.fixture
def driver(debugfs: Path, packager: Path) -> Iterator[ApartDriver]:
    made = ApartDriver(recorded_stream, finish_rpk, partial(upload_progress, debugfs))
    yield made
    made.close()


@pytest.fixture
def unpacked(package: Maker, tmp_path: Path) -> Path:
    (tmp_path / "7.tar").write_bytes(package(7))
    tars.unpack(tmp_path / "7.tar", folder := tmp_path / "package")
    return folder


@pytest.fixture
def begun(start: Start, driver: ApartDriver) -> Agent:
    agent = start(begin=False, first_frames_s=3, stall_s=4, load_s=60, silence_s=5)
    agent.sensor._driver = driver
    agent.begin()
    return agent


def test_a_package_is_finished_installed_and_told_to_be_unverified(begun: Agent, server: StubServer, package: Maker) -> None:
    offer = server.offer(package(7))
    talk(begun)
    assert offer.end == "success", offer.words
    assert "unverified: this device takes no golden frames" in offer.words
    assert begun.state.golden is GoldenCheck.UNVERIFIED
    assert begun.state.current is not None
    assert begun.state.current.rpk_sha256
    until(lambda: begun._figures._sum.frames > 5, "frames")
    span = begun._figures.take()
    assert span.dnn_ms / span.timed == pytest.approx(13.96)
    assert span.dsp_ms / span.timed == pytest.approx(12.36)
    assert begun.sensor.temperature == 38.5


@pytest.mark.parametrize(
    ("story", "reason"),
    [
        ("stalls", "the upload stalled at 5,000 of 10,000 bytes"),
        ("dies", "the sensor's process ended with exit code -9"),
        ("refuses", "the sensor cannot be started: Failed to start camera"),
        ("name", "'other', not 'pico'"),
        ("ends", "frames came in 3 s after the upload"),
    ],
)
def test_what_sensors_were_seen_to_do_wrong_is_survived(
    begun: Agent, server: StubServer, package: Maker, monkeypatch: pytest.MonkeyPatch, story: str, reason: str
) -> None:
    monkeypatch.setenv("RECORDED_STORY", story)
    monkeypatch.setenv("RECORDED_WHERE", "/slots/b/")
    for release in (7, 8):
        offer = server.offer(package(release))
        talk(begun)
    assert server.offers[0].end == "success"
    assert offer.end == "failure"
    assert reason in offer.words
    assert begun.sensor.package == "picosam2/7"


def test_frames_that_may_show_the_region_before_are_dropped(driver: ApartDriver, unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "finished").mkdir()
    driver.finish(unpacked, tmp_path / "finished")
    driver.load(unpacked, tmp_path / "finished", lambda *_: None)
    driver.set_roi(Roi(100, 0, 608, 608))
    shown = []
    for number, frame in enumerate(driver.frames()):
        if frame.output is not None:
            shown.append((frame.roi.x, float(frame.output[0, 0])))
        if number == 15:
            driver.set_roi(Roi(900, 0, 608, 608))
        if number == 40:
            break
    assert {roi for roi, _ in shown} == {100, 900}
    assert all(roi == seen for roi, seen in shown), shown


def test_pixels_come_while_they_are_wanted(driver: ApartDriver, unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "finished").mkdir()
    driver.finish(unpacked, tmp_path / "finished")
    driver.load(unpacked, tmp_path / "finished", lambda *_: None)
    driver.set_roi(Roi(100, 0, 608, 608))
    given = []
    for number, frame in enumerate(driver.frames()):
        given.append(frame.window)
        if number in {10, 40}:
            driver.give_windows(number == 10)
        if number == 80:
            break
    assert all(window is None for window in [*given[:10], *given[70:]])
    assert given[30] is not None
    assert given[30].shape == (8, 8, 3)


def test_nothing_can_be_injected(driver: ApartDriver, unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "finished").mkdir()
    driver.finish(unpacked, tmp_path / "finished")
    driver.load(unpacked, tmp_path / "finished", lambda *_: None)
    with pytest.raises(NotSupported):
        driver.inject(np.zeros((1, 8, 8, 3), np.uint8))


def test_without_the_packager_a_pending_package_is_refused(
    debugfs: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DriverError, match="sudo apt install imx500-tools"):
        finish_rpk(unpacked, tmp_path)


@pytest.mark.parametrize("script", ["exit 3", "echo no >&2; exit 1", 'echo x > "$4/network.rpk"', "true"])
def test_a_packager_that_makes_nothing_of_use_is_told(packager: Path, unpacked: Path, tmp_path: Path, script: str) -> None:
    packager.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(DriverError, match="imx500-package"):
        finish_rpk(unpacked, tmp_path)


def test_progress_is_read_from_where_the_kernel_tells_it(debugfs: Path) -> None:
    (debugfs / "imx500-fw:10-001a" / "fw_progress").write_text("2 4096 10000\n")
    assert upload_progress(debugfs) == (4096, 10000)
    (debugfs / "rp2040-spi:10-0040").mkdir()
    (debugfs / "rp2040-spi:10-0040" / "transfer_progress").write_text("500\n")
    assert upload_progress(debugfs) == (4596, 10000)
    assert upload_progress(debugfs / "nowhere") is None
