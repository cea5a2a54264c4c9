"""Pixels leave the camera only where somebody wants that: now and then, in order, whatever happens in between."""

import errno
import io
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from services.camera.agent import Agent
from services.camera.disk import Disk
from services.camera.driver import Frame
from services.camera.roi import Roi
from services.camera.samples import Samples
from services.camera.settings import CameraSettings, SamplePolicy
from services.camera.shelf import Shelf
from services.camera.wire import Wire
from services.fleet.ddi.samples import decoded
from shared.contracts.cameras import SampleIn
from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import BASE, FakeSensor, StubServer, until
from tests.services.camera.power import CuttingDisk, FullDisk, PowerCut
from tests.services.camera.test_agent import talk
from tests.services.camera.test_figures import Clock

Start = Callable[..., Agent]
Make = Callable[..., Samples]
WINDOWS: dict[str, Any] = {"samples": SamplePolicy.WINDOWS}


def a_frame(red: int = 1, *, side: int = 8, window_side: int | None = None, logit: float = 2.0) -> Frame:
    window = np.zeros((window_side or side, window_side or side, 3), np.uint8)
    window[..., 0] = red
    output = np.full((side, side), logit, np.float32)
    output[0, 0] = -2
    return Frame(roi=Roi(0, 0, 64, 64), output=output, network="pico", dnn_ms=14.0, dsp_ms=2.0, window=window)


def red_of(sample: dict[str, Any]) -> int:
    with Image.open(io.BytesIO(b64decode(sample["window"]))) as image:
        return int(np.asarray(image)[0, 0, 0])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(settings: CameraSettings, server: StubServer, clock: Clock) -> Make:
    """On the same disk, one after the other; they have begun."""
    server.samples = []

    def again(disk: Disk | None = None, **changes: Any) -> Samples:
        chosen = settings.model_copy(update=WINDOWS | {"samples_per_hour": 60.0} | changes)
        wire = Wire(BASE, "default", "cam-1", chosen.authorization, transport=server.transport, monotonic=clock)
        made = Samples(wire, disk or Disk(), chosen.folder, chosen, monotonic=clock)
        made.begin()
        return made

    return again


def take(samples: Samples, clock: Clock, *reds: int, package: str | None = "picosam2/7") -> None:
    """A sample of each, a minute apart."""
    for red in reds:
        samples.see(package, a_frame(red))
        samples.keep()
        clock.now += 60


def test_by_default_no_pixel_is_asked_for_kept_or_sent(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker, settings: CameraSettings
) -> None:
    server.samples = []
    server.offer(package(7))
    talk(agent, 2)
    until(lambda: agent._figures._sum.frames > 50, "frames")
    talk(agent)
    assert server.samples == []
    assert sensor.window_orders == []
    assert not (settings.folder / "samples").exists()


def test_a_sample_is_what_the_server_takes(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker, settings: CameraSettings
) -> None:
    agent = start(**WINDOWS)
    server.samples = []
    server.offer(package(7))
    talk(agent)
    until(lambda: agent._samples._taken is not None, "a frame that is taken")
    talk(agent)
    (sample,) = server.samples
    told = SampleIn.model_validate(sample)
    pictures = decoded(told, 0)  # the server's own check
    with Image.open(io.BytesIO(pictures.mask)) as mask:
        assert np.asarray(mask).all()
    assert told.package == "picosam2/7"
    assert told.confidence == pytest.approx(0.7311, abs=1e-4)
    assert list((settings.folder / "samples").iterdir()) == []
    until(lambda: sensor.window_orders == [True, False], "the driver to give no more windows")


def test_so_many_an_hour_are_taken_however_many_frames_come(make: Make, clock: Clock, server: StubServer) -> None:
    samples = make(samples_per_hour=12.0)
    for _ in range(36_000):  # an hour at ten frames a second
        clock.now += 0.1
        if samples.wants_windows:
            samples.see("picosam2/7", a_frame())
            samples.keep()
            samples.forward()
    assert server.samples is not None
    assert len(server.samples) == 12


@pytest.mark.parametrize(
    ("running", "frame"),
    [
        (None, a_frame()),
        ("picosam2/7", a_frame(window_side=9)),
        ("picosam2/7", a_frame(side=257)),
        ("picosam2/7", a_frame(logit=float("nan"))),
        ("picosam2/7", Frame(roi=Roi(0, 0, 64, 64), output=None, network=None, dnn_ms=None, dsp_ms=None)),
    ],
    ids=["not proven", "sizes differ", "too large", "no numbers", "no answer"],
)
def test_what_is_no_sample_is_not_taken_and_the_next_one_is(make: Make, running: str | None, frame: Frame) -> None:
    samples = make()
    samples.see(running, frame)
    samples.keep()
    assert len(samples._shelf) == 0
    assert samples.wants_windows


def test_what_came_while_the_server_was_away_is_sent_in_order_also_by_another_process(
    make: Make, clock: Clock, server: StubServer
) -> None:
    samples = make()
    server.offline = True
    for red in (1, 2, 3):
        take(samples, clock, red)
        samples.forward()
    server.offline = False
    again = make()
    take(again, clock, 4)
    again.forward()
    assert [red_of(each) for each in server.samples or []] == [1, 2, 3, 4]
    again.forward()
    assert len(server.samples or []) == 4


def test_the_newest_are_kept(make: Make, clock: Clock, server: StubServer) -> None:
    samples = make(samples_kept=3)
    take(samples, clock, 1, 2, 3, 4, 5)
    samples.forward()
    assert [red_of(each) for each in server.samples or []] == [3, 4, 5]


def test_a_server_that_has_enough_is_left_alone_as_long_as_it_wants_while_polls_go_on(
    start: Start, server: StubServer, package: Maker
) -> None:
    agent = start(**WINDOWS)
    server.offer(package(7))
    talk(agent)
    until(lambda: agent._samples._taken is not None, "a frame that is taken")
    refused = httpx.Response(429, headers={"retry-after": "1800"})
    server.before = lambda request: refused if request.url.path.endswith("/samples") else None
    talk(agent, 3)
    assert sum(request.url.path.endswith("/samples") for request in server.requests) == 1
    assert agent._backoff.failures == 0
    assert 1700 < agent._samples._send_at - agent._monotonic() <= 1800
    assert len(agent._samples._shelf) == 1


def test_a_sample_that_is_refused_holds_no_other_up(make: Make, clock: Clock, server: StubServer) -> None:
    samples = make()
    take(samples, clock, 1, package="picosam2/6")
    take(samples, clock, 2)

    def refuse(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(409) if json.loads(request.content)["package"] == "picosam2/6" else None

    server.before = refuse
    samples.forward()
    assert [red_of(each) for each in server.samples or []] == [2]
    assert len(samples._shelf) == 0


def test_a_server_that_knows_no_samples_is_asked_once(make: Make, clock: Clock, server: StubServer) -> None:
    samples = make()
    server.samples = None
    take(samples, clock, 1, 2)
    samples.forward()
    samples.forward()
    assert len(server.requests) == 1
    assert not samples.wants_windows


def test_once_pixels_may_not_leave_any_more_those_that_wait_are_removed(
    make: Make, clock: Clock, server: StubServer, settings: CameraSettings
) -> None:
    take(make(), clock, 1, 2)
    private = make(samples=SamplePolicy.STATISTICS)
    private.forward()
    assert server.samples == []
    assert not (settings.folder / "samples").exists()


def test_the_time_is_told_where_it_is_known(make: Make, clock: Clock, server: StubServer) -> None:
    samples = make()
    take(samples, clock, 1)
    server.before = lambda _: httpx.Response(200, headers={"date": "Wed, 21 Oct 2026 07:28:00 GMT"})
    samples.forward()
    server.before = lambda _: None
    samples.see("picosam2/7", a_frame(2))
    clock.now += 5  # until the agent's thread brings it to the disk
    samples.keep()
    samples.forward()
    (sample,) = server.samples or []
    assert sample["at"] == "2026-10-21T07:28:00+00:00"
    assert "at" not in json.loads(server.requests[0].content)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe"])
def test_a_file_that_rotted_is_skipped(
    make: Make, clock: Clock, server: StubServer, settings: CameraSettings, content: bytes
) -> None:
    samples = make()
    take(samples, clock, 1, 2)
    (settings.folder / "samples" / "000000000001.json").write_bytes(content)
    samples.forward()
    assert [red_of(each) for each in server.samples or []] == [2]


def test_a_full_disk_costs_samples_and_nothing_else(make: Make, clock: Clock) -> None:
    disk = FullDisk(0, stays_full=True)
    samples = make(disk)
    take(samples, clock, 1)
    assert len(samples._shelf) == 0
    disk.has_room = True
    take(samples, clock, 2)
    assert len(samples._shelf) == 1


def test_room_for_a_package_is_left(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.camera.shelf.free_bytes", lambda _: 200 * 1024**2)
    samples = make()
    take(samples, clock, 1)
    assert len(samples._shelf) == 0


def test_a_card_that_cannot_be_read_stops_nobody(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = make()
    take(samples, clock, 1)

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    samples.forward()
    assert len(samples._shelf) == 0


def _story(shelf: Shelf, kept: list[int]) -> None:
    """Five come where three have room, and two are sent. ``kept``: what is there after each of these."""
    shelf.open()
    for number in range(1, 6):
        shelf.add(json.dumps({"number": number, "text": "x" * 500}).encode())
        kept[:] = [*kept, number][-3:]
    for _ in range(2):
        shelf.drop_oldest()
        kept.pop(0)


def test_whenever_the_power_goes_the_samples_that_are_left_are_whole_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.camera.disk.os.fsync", lambda _: None)
    undisturbed = CuttingDisk(None)
    _story(Shelf(undisturbed, tmp_path / "undisturbed", 3), [])
    for at in range(len(undisturbed.steps)):
        folder, kept = tmp_path / str(at), list[int]()
        with pytest.raises(PowerCut):
            _story(Shelf(CuttingDisk(at, forgets=at % 2 == 0), folder, 3), kept)
        shelf = Shelf(Disk(), folder, 3)
        shelf.open()
        assert len(shelf) <= 3
        assert not list(folder.glob("*.new"))
        assert shelf.add(b'{"number": 6}')
        numbers = []
        while (content := shelf.oldest()) is not None:
            numbers.append(json.loads(content)["number"])
            shelf.drop_oldest()
        assert numbers == sorted(numbers)
        assert numbers[-1] == 6
        lost = set(kept) - set(numbers)
        assert lost <= set(kept[:2])  # displaced by the one that was under way, and by the sixth
        assert not list(folder.iterdir())
