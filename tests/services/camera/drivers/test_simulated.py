"""Real pictures, the package's own network, real golden frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.camera.agent import Agent
from services.camera.drivers.simulated import SimulatedDriver
from services.camera.roi import Roi
from services.camera.settings import Fault
from shared.kit.packages import tars
from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import StubServer, until
from tests.services.camera.drivers.networks import network_contents
from tests.services.camera.test_agent import talk

Start = Callable[..., Agent]


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return network_contents(tmp_path_factory.mktemp("network"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[200:280, 280:360, 0] = 250
    Image.fromarray(picture).save(folder / "red.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture either")
    return folder


def a_driver(images: Path, **told: object) -> SimulatedDriver:
    return SimulatedDriver(images, **{"frames_per_s": 500, "upload_s": 0.02} | told)  # type: ignore[arg-type]


@pytest.fixture
def run(start: Start, server: StubServer, package: Maker, contents: dict[str, bytes]) -> Callable[..., tuple[str, str]]:
    """Installs 7 on a good sensor and 8 on this one; how that ended, and the words."""

    def go(driver: SimulatedDriver) -> tuple[str, str]:
        agent = start(begin=False, first_frames_s=1)
        agent.sensor._driver = driver
        agent.begin()
        server.offer(package(7, contents=contents))
        talk(agent)
        offer = server.offer(package(8, contents=contents))
        talk(agent)
        assert server.offers[0].end == "success", server.offers[0].words
        assert agent.sensor.package == ("picosam2/8" if offer.end == "success" else "picosam2/7")
        until(lambda: agent._figures._sum.frames > 10, "frames")
        return str(offer.end), offer.words

    return go


def test_the_packages_network_runs_and_passes_its_golden_frames(run: Callable[..., tuple[str, str]], images: Path) -> None:
    end, words = run(a_driver(images))
    assert end == "success"
    assert "unverified" not in words


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.STALL, "the upload stalled at"),
        (Fault.NAME, "'another', not 'pico'"),
        (Fault.SHAPE, "(95, 96)"),
        (Fault.SLOW, "480.0 ms"),
        (Fault.SILENT, "0 frames came"),
        (Fault.DRIFT, "the golden frames do not match"),
    ],
)
def test_every_fault_is_found_and_only_where_it_was_set(
    run: Callable[..., tuple[str, str]], images: Path, fault: Fault, reason: str
) -> None:
    end, words = run(a_driver(images, fault=fault, fault_packages=frozenset({"picosam2/8"})))
    assert end == "failure"
    assert reason in words


def test_frames_that_are_lost_show_in_the_figures(
    start: Start, server: StubServer, package: Maker, images: Path, contents: dict[str, bytes]
) -> None:
    agent = start(begin=False)
    agent.sensor._driver = a_driver(images, fault=Fault.MISSING)
    agent.begin()
    offer = server.offer(package(7, contents=contents))
    talk(agent)
    assert offer.end == "success"
    until(lambda: agent._figures._sum.frames > 60, "frames")
    span = agent._figures.take()
    assert 0.25 < span.missing / (span.frames + span.missing) < 0.75


def test_a_frame_shows_the_region_that_it_names(
    images: Path, package: Maker, contents: dict[str, bytes], tmp_path: Path
) -> None:
    """The red square is in the middle of the picture: only a region there has object in it."""
    (tmp_path / "7.tar").write_bytes(package(7, contents=contents))
    tars.unpack(tmp_path / "7.tar", tmp_path / "package")
    driver = a_driver(images)
    driver.load(tmp_path / "package", tmp_path, lambda *_: None)
    middle, corner = Roi(1724, 1216, 608, 608), Roi(0, 0, 608, 608)
    driver.set_roi(middle)
    seen = []
    for number, frame in enumerate(driver.frames()):
        assert frame.output is not None
        seen.append((frame.roi, bool((frame.output > 0).any())))
        if number == 20:
            driver.set_roi(corner)
        if number == 40:
            driver.close()
    assert {has for roi, has in seen if roi == middle} == {True}
    assert {has for roi, has in seen if roi == corner} == {False}
    assert len(seen) == 41


def test_a_folder_without_pictures_is_a_failure_that_says_so(
    start: Start, server: StubServer, package: Maker, tmp_path: Path, contents: dict[str, bytes]
) -> None:
    agent = start(begin=False)
    agent.sensor._driver = a_driver(tmp_path / "nowhere")
    agent.begin()
    offer = server.offer(package(7, contents=contents))
    talk(agent)
    assert offer.end == "failure"
    assert "the stream ended after 0 frames" in offer.words


def test_pixels_are_given_only_while_they_are_wanted(
    images: Path, package: Maker, contents: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "7.tar").write_bytes(package(7, contents=contents))
    tars.unpack(tmp_path / "7.tar", tmp_path / "package")
    driver = a_driver(images)
    driver.load(tmp_path / "package", tmp_path, lambda *_: None)
    driver.set_roi(Roi(1724, 1216, 608, 608))
    windows = []
    for number, frame in enumerate(driver.frames()):
        windows.append(frame.window)
        driver.give_windows(3 <= number < 6)
        if number == 10:
            driver.close()
    assert [window is not None for window in windows] == [4 <= number < 7 for number in range(11)]
    assert windows[4] is not None
    assert windows[4].shape == (96, 96, 3)
    assert windows[4][..., 0].max() == 250  # the red square, as RGB
    assert windows[4][..., 1:].max() == 0
