"""The local page as a browser sees it, over real sockets."""

import base64
import io
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image
from pydantic import ValidationError

from services.camera.agent import Agent
from services.camera.driver import Frame
from services.camera.page import server as page_server
from services.camera.page.feed import MOST_WATCHERS, Feed, TooManyWatch
from services.camera.roi import Roi
from services.camera.settings import CameraSettings
from services.camera.telling import Status
from tests.services.camera.conftest import Maker, some_settings
from tests.services.camera.doubles import FakeSensor, StubServer, until
from tests.services.camera.test_agent import talk
from tests.services.camera.test_figures import Clock

Start = Callable[..., Agent]
TOKEN = "0123456789abcdef"
LETS_IN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def settings(tmp_path: Path, package: Maker) -> CameraSettings:
    return some_settings(tmp_path / "camera", package.keys, page_port=0, page_token=TOKEN, page_frames_per_s=30)


@pytest.fixture
def browser(agent: Agent) -> Iterator[httpx.Client]:
    assert agent._page is not None
    assert agent._page.address is not None
    host, port = agent._page.address
    with httpx.Client(base_url=f"http://{host}:{port}", timeout=20) as client:
        yield client


@pytest.fixture
def running(agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker) -> Agent:
    sensor.pause_s = 0.02
    server.offer(package(7))
    talk(agent)
    return agent


@contextmanager
def events(browser: httpx.Client) -> Iterator[Iterator[dict[str, Any]]]:
    with browser.stream("GET", "/events", headers=LETS_IN) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/event-stream"
        yield (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line)


def picture(text: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image)


def test_there_is_no_page_by_default(start: Start, settings: CameraSettings, package: Maker) -> None:
    assert some_settings(settings.folder, package.keys).page_port is None
    assert start(page_port=None)._page is None


@pytest.mark.parametrize(
    "told", [{"page_token": None}, {"page_token": "short"}, {"page_host": "camera.local"}, {"page_port": 65536}]
)
def test_a_page_without_a_token_of_some_length_is_refused(
    settings: CameraSettings, package: Maker, told: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        some_settings(settings.folder, package.keys, **{"page_port": 8080, "page_token": TOKEN} | told)


def test_it_listens_on_this_machine_alone(agent: Agent) -> None:
    assert agent._page is not None
    assert agent._page.address is not None
    assert agent._page.address[0] == "127.0.0.1"


def test_what_is_seen_comes_with_its_mask_and_figures(running: Agent, browser: httpx.Client) -> None:
    with events(browser) as told:
        seen = next(each for each in told if each["frame"] and each["frame"]["window"] and each["frames_per_s"])
    frame = seen["frame"]
    assert seen["package"] == frame["package"] == "picosam2/7"
    assert (seen["golden"], seen["step"], seen["errors"], seen["sensor"]) == ("passed", None, [], [4056, 3040])
    assert frame["roi"] == [1724, 1216, 608, 608]
    assert (frame["dnn_ms"], frame["dsp_ms"], frame["area"]) == (15.0, 1.0, 1.0)
    assert 5 < seen["frames_per_s"] < 50.5
    assert picture(frame["mask"]).all()
    assert picture(frame["window"]).shape == (8, 8, 3)


def test_errors_are_told_also_while_nothing_runs(
    agent: Agent, browser: httpx.Client, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    sensor.faults["picosam2/7"] = "name"
    server.offer(package(7))
    talk(agent)
    server.offline = True
    talk(agent)
    with events(browser) as told:
        seen = next(told)
    assert (seen["package"], seen["frame"]) == (None, None)
    assert len(seen["errors"]) == 2
    assert seen["errors"][0].startswith("last installation: the network on the sensor is 'other'")
    assert seen["errors"][1].startswith("server: ConnectError")


def test_a_stream_that_ended_is_told(running: Agent, browser: httpx.Client, sensor: FakeSensor) -> None:
    def fail(_: Roi) -> None:
        raise RuntimeError("the cable is loose")

    sensor.set_roi = fail  # type: ignore[method-assign]
    running.sensor._reader = None
    running._bring_back()
    with events(browser) as told:
        assert next(told)["errors"][0] == "sensor: RuntimeError: the cable is loose"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff",
        "B" * 60_000,
    ],
)
def test_nothing_is_seen_without_the_token(running: Agent, browser: httpx.Client, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    with browser.stream("GET", "/events", headers=headers) as answer:  # type: ignore[arg-type]
        assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert running._page is not None
    assert running._page.feed._watchers == 0


def test_a_token_in_the_url_lets_nobody_in(running: Agent, browser: httpx.Client) -> None:
    assert browser.get(f"/events?token={TOKEN}").status_code == 401


def test_the_token_is_read_anew_and_an_unreadable_one_lets_nobody_in(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "page.token"
    file.write_text(TOKEN + "\n")
    agent = start(page_token=None, page_token_file=file)
    assert agent._page is not None
    assert agent._page._server is not None
    lets_in = agent._page._server.lets_in
    assert lets_in(f"Bearer {TOKEN}")
    file.write_text("fedcba9876543210")
    assert not lets_in(f"Bearer {TOKEN}")
    assert lets_in("Bearer fedcba9876543210")
    for content in ("short", "", "\xff"):
        file.write_text(content)
        assert not lets_in(f"Bearer {content}")
    file.unlink()
    assert not lets_in("Bearer ")


def test_the_document_holds_nothing_of_the_camera_and_runs_its_own_script_alone(running: Agent, browser: httpx.Client) -> None:
    answer = browser.get("/")
    assert answer.status_code == 200
    assert "picosam2" not in answer.text
    assert TOKEN not in answer.text
    policy = answer.headers["content-security-policy"]
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.S)
        assert f"{rule} 'sha256-{base64.b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert "innerHTML" not in answer.text
    assert not re.findall(r"(?:src|href)=|https?://", answer.text)
    assert "prefers-color-scheme: dark" in answer.text


def test_every_element_that_the_script_names_is_there(agent: Agent, browser: httpx.Client) -> None:
    text = browser.get("/").text
    named = set(re.findall(r'\$\("([a-z-]+)"\)', text))
    assert len(named) > 15
    assert named <= set(re.findall(r'id="([a-z-]+)"', text))


@pytest.mark.parametrize("path", ["/favicon.ico", "/../state.json", "/events/", "/%2e%2e"])
def test_there_is_nothing_else(agent: Agent, browser: httpx.Client, path: str) -> None:
    assert browser.get(path, headers=LETS_IN).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed_and_no_other_page_may_ask(agent: Agent, browser: httpx.Client, method: str) -> None:
    answer = browser.request(method, "/events", headers=LETS_IN | {"Origin": "https://elsewhere.test"})
    assert answer.status_code == 501
    assert "access-control-allow-origin" not in answer.headers


def test_while_nobody_watches_nothing_is_kept_drawn_or_taken_from_the_sensor(
    running: Agent, browser: httpx.Client, sensor: FakeSensor
) -> None:
    assert running._page is not None
    feed = running._page.feed
    until(lambda: running._figures._sum.frames > 20, "frames")
    assert (feed._number, feed._shown, len(feed._came), sensor.window_orders) == (0, None, 0, [])
    with events(browser) as told:
        next(each for each in told if each["frame"] and each["frame"]["window"])
    until(lambda: feed._watchers == 0, "the page to notice that nobody watches")
    until(lambda: sensor.window_orders == [True, False], "the driver to give no more windows")
    number = feed._number
    time.sleep(0.2)
    assert (feed._number, feed._shown, feed._drawn) == (number, None, None)


def test_waiting_for_somebody_costs_no_time_at_all(agent: Agent) -> None:
    assert agent._page is not None
    assert agent._page._thread is not None
    number = agent._page._thread.native_id

    def spent() -> list[float]:
        threads = {each.id: each for each in psutil.Process().threads()}
        return [threads[number].user_time, threads[number].system_time]  # type: ignore[index]

    switches = Path(f"/proc/self/task/{number}/status")
    time.sleep(1)  # until the thread has gone to sleep
    before, woken = spent(), re.findall(r"ctxt_switches:\s(\d+)", switches.read_text())
    time.sleep(1.5)
    assert spent() == before
    assert re.findall(r"ctxt_switches:\s(\d+)", switches.read_text()) == woken


def test_so_many_frames_a_second_are_shown_and_each_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    feed = Feed(a_status, frames_per_s=5, monotonic=clock)
    drawn: list[int] = []
    monkeypatch.setattr("services.camera.page.feed._drawn", lambda shown: drawn.append(shown.number) or {})
    with feed.watching(), feed.watching():
        number, seen = 0, 0
        for _ in range(100):  # ten seconds at ten a second
            clock.now += 0.1
            feed.see("picosam2/7", a_frame())
            if (shown := feed.after(number, 0)) is not None:
                number, seen = shown.number, seen + 1
                feed.message(shown)
                feed.message(shown)
    assert 48 <= seen <= 51
    assert drawn == list(range(1, seen + 1))


def test_the_rate_falls_when_frames_stop() -> None:
    clock = Clock()
    feed = Feed(a_status, frames_per_s=5, monotonic=clock)
    with feed.watching():
        for _ in range(40):
            clock.now += 0.1
            feed.see("picosam2/7", a_frame())
        assert json.loads(feed.message(None))["frames_per_s"] == 10.0
        clock.now += 30
        assert json.loads(feed.message(None))["frames_per_s"] == 0.9


@pytest.mark.parametrize("output", [None, np.zeros(5, np.float32), np.zeros((2, 3, 4), np.float32)])
def test_answers_of_any_shape_are_shown_somehow(output: Any) -> None:
    feed = Feed(a_status, frames_per_s=5)
    with feed.watching():
        feed.see(None, Frame(roi=Roi(0, 0, 64, 64), output=output, network="<b>", dnn_ms=None, dsp_ms=None))
        told = json.loads(feed.message(feed.after(0, 0)))
    assert (told["frame"]["mask"], told["frame"]["area"], told["frame"]["window"]) == (None, None, None)


def test_more_watchers_than_the_camera_has_time_for_are_sent_away(running: Agent, browser: httpx.Client) -> None:
    assert running._page is not None
    feed, open_ = running._page.feed, []
    for _ in range(MOST_WATCHERS):
        open_.append(feed.watching())
        open_[-1].__enter__()
    answer = browser.get("/events", headers=LETS_IN)
    assert answer.status_code == 503
    assert "close another page" in answer.json()["detail"]
    with pytest.raises(TooManyWatch), feed.watching():
        pass
    open_.pop().__exit__(None, None, None)
    with events(browser) as told:
        assert next(told)["package"] == "picosam2/7"


def test_people_who_say_nothing_keep_nobody_out_for_long(
    agent: Agent, browser: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_server._Handler, "timeout", 0.3)
    assert agent._page is not None
    assert agent._page.address is not None
    silent = [socket.create_connection(agent._page.address) for _ in range(page_server.MOST_CONNECTIONS)]
    try:
        until(lambda: _answers(browser), "room")
    finally:
        for each in silent:
            each.close()


def test_a_port_in_use_does_not_stop_the_camera(start: Start, server: StubServer, package: Maker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        agent = start(page_port=taken.getsockname()[1])
        server.offer(package(7))
        talk(agent)
    assert agent.sensor.package == "picosam2/7"
    assert agent._page is not None
    assert agent._page.address is None


def test_it_hangs_up_when_the_agent_stops(running: Agent, browser: httpx.Client) -> None:
    assert running._page is not None
    thread = running._page._thread
    with events(browser) as told:
        next(told)
        running.close()
        rest = list(told)
    assert len(rest) < 40
    assert thread is not None
    assert not thread.is_alive()
    with pytest.raises(httpx.ConnectError):
        browser.get("/")


def a_status() -> Status:
    return Status(package="picosam2/7", golden="passed", step=None, errors=[])


def a_frame() -> Frame:
    return Frame(roi=Roi(0, 0, 64, 64), output=np.ones((8, 8), np.float32), network="pico", dnn_ms=14.0, dsp_ms=2.0)


def _answers(browser: httpx.Client) -> bool:
    try:
        return browser.get("/").status_code == 200
    except httpx.HTTPError:
        return False
