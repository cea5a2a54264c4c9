"""From an action to a package that runs, or back."""

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.camera.agent import Agent
from services.camera.errors import RestartNeeded, StateUnreadable
from services.camera.state import State
from shared.contracts.packages import ReleaseStatement
from shared.kit.packages.keys import generate, read_trusted, trust
from shared.kit.packages.signing import sign_statement
from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import FakeSensor, StubServer, until
from tests.services.camera.test_agent import talk

Start = Callable[..., Agent]


def a_statement(key: Path, from_release: int, to_release: int, line: str = "picosam2") -> dict[str, str]:
    said = ReleaseStatement(
        line=line, from_release=from_release, to_release=to_release, reason="tests", issued_at=datetime.now(UTC)
    )
    signed = sign_statement(said, key)
    envelope = json.dumps({"statement": signed.content.decode(), "signature": signed.signature.decode()})
    return {"key": "picofleet.statement", "value": envelope}


def test_the_second_package_goes_into_the_other_slot_and_the_first_is_kept(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    for release in (7, 8, 9):
        server.offer(package(release))
        talk(agent)
    state = agent.state
    assert state.current is not None
    assert state.good is not None
    assert (state.current.package, state.good.package) == ("picosam2/9", "picosam2/8")
    assert state.current.name != state.good.name
    assert state.floors == {"picosam2": 9}
    assert sensor.loaded == ["picosam2/7", "picosam2/8", "picosam2/9"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("stall", "the upload stalled at 50 of 100 bytes: nothing moved for 0.3 s"),
        ("broken", "the sensor does not answer"),
        ("name", "the network on the sensor is 'other', not 'pico'"),
        ("shape", r"the output tensor has the shape \(4, 4\), not \(8, 8\)"),
        ("slow", "the network takes 500.0 ms; more than 100 ms is out of range"),
        ("missing", "16 of 16 frames came without an output tensor"),
        ("silent", "0 frames came in 0.5 s after the upload"),
        ("ends", "the stream ended after 2 frames"),
        ("drift", "the golden frames do not match: 0.0% of the codes are within 2"),
        ("unfinished", "imx500-package is not installed"),
    ],
)
def test_whatever_goes_wrong_what_ran_before_runs_again_and_the_server_hears_why(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker, fault: str, reason: str
) -> None:
    agent = start(first_frames_s=0.5)
    server.offer(package(7))
    talk(agent)
    sensor.faults["picosam2/8"] = fault
    offer = server.offer(package(8))
    talk(agent)
    assert offer.end == "failure"
    assert re.search(reason, offer.words)
    assert offer.words.splitlines()[-1] == "picofleet.package=picosam2/7"
    assert sensor.running == agent.sensor.package == "picosam2/7"
    assert agent.state.current is not None
    assert agent.state.current.package == "picosam2/7"
    assert agent.state.floors == {"picosam2": 7}
    talk(agent)
    assert server.attributes["package"] == "picosam2/7"


def test_a_first_package_that_fails_leaves_nothing(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    sensor.faults["picosam2/7"] = "drift"
    offer = server.offer(package(7))
    talk(agent)
    assert offer.end == "failure"
    assert offer.words.splitlines()[-1] == "picofleet.package=none"
    assert agent.state.current is None
    assert not any(agent._settings.folder.glob("slots/*"))


def test_a_device_without_injection_is_told_to_be_unverified(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    sensor.injects = False
    offer = server.offer(package(7))
    talk(agent)
    assert offer.end == "success"
    assert "unverified: this device takes no golden frames" in offer.words
    talk(agent)
    assert server.attributes["golden"] == "unverified"


Spoil = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda tar: tar[: len(tar) // 2], "cannot be unpacked"),
        (lambda tar: tar.replace(b"# PicoSAM2", b"# PicoSAM3"), "model_card.md is sha256:"),
        (lambda _: b"no tar at all" * 100, "cannot be unpacked"),
        (lambda _: b"", "the package"),
    ],
)
def test_a_damaged_package_never_reaches_the_sensor(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker, spoil: Spoil, reason: str
) -> None:
    server.offer(package(7))
    talk(agent)
    offer = server.offer(spoil(package(8)))
    talk(agent)
    assert offer.end == "failure"
    assert reason in offer.words
    assert sensor.loaded == ["picosam2/7"]


def test_a_forged_package_never_reaches_the_sensor(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker, tmp_path: Path
) -> None:
    generate(tmp_path / "forger.pem")
    offer = server.offer(package(8, key=tmp_path / "forger.pem"))
    talk(agent)
    assert offer.end == "failure"
    assert sensor.loaded == []


def test_an_older_release_needs_a_signed_statement(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker, tmp_path: Path
) -> None:
    for release in (7, 8, 9):
        server.offer(package(release))
        talk(agent)
    replayed = server.offer(package(7))
    talk(agent)
    assert "release 7 of picosam2 is older than release 9" in replayed.words
    generate(tmp_path / "forger.pem")
    forged = server.offer(package(7), metadata=[a_statement(tmp_path / "forger.pem", 9, 7)])
    talk(agent)
    assert forged.end == "failure"
    other = server.offer(package(7), metadata=[{"key": "picofleet.statement", "value": "{"}])
    talk(agent)
    assert "cannot be read" in other.words
    signed = server.offer(package(7), metadata=[a_statement(package.key, 9, 7)])
    talk(agent)
    assert signed.end == "success"
    assert sensor.running == "picosam2/7"
    assert agent.state.floors == {"picosam2": 9}


def test_a_return_to_what_lies_in_the_other_slot_downloads_nothing(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    for release in (7, 8):
        server.offer(package(release))
        talk(agent)
    server.requests.clear()
    offer = server.offer(package(7), metadata=[a_statement(package.key, 8, 7)])
    talk(agent)
    assert offer.end == "success"
    assert not any("/artifacts/" in each.url.path for each in server.requests)
    assert agent.state.current is not None
    assert agent.state.good is not None
    assert (agent.state.current.package, agent.state.good.package) == ("picosam2/7", "picosam2/8")


def test_a_return_to_nothing_removes_the_package(agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker) -> None:
    server.offer(package(7))
    talk(agent)
    offer = server.offer_nothing()
    talk(agent)
    assert offer.end == "success"
    assert sensor.running is None
    assert agent.sensor.package is None
    assert agent.state.current is None
    assert agent.state.floors == {"picosam2": 7}
    assert not any(agent._settings.folder.glob("slots/*"))


def test_the_package_that_runs_is_not_installed_again(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    server.offer(package(7))
    talk(agent)
    again = server.offer(package(7))
    talk(agent)
    assert again.end == "success"
    assert sensor.loaded == ["picosam2/7"]


def test_another_release_inside_than_was_offered_is_refused(agent: Agent, server: StubServer, package: Maker) -> None:
    offer = server.offer(package(7), part="picosam2", name="picosam2", version="8")
    talk(agent)
    assert "picosam2/8 was offered, but picosam2/7 is inside" in offer.words


def test_a_package_for_newer_agents_is_refused(agent: Agent, server: StubServer, package: Maker) -> None:
    offer = server.offer(package(7, minimum_agent="99.0.0"))
    talk(agent)
    assert "needs agent 99.0.0" in offer.words


def test_files_that_are_no_package_are_refused(agent: Agent, server: StubServer) -> None:
    offer = server.offer(b"firmware")
    offer.chunk["artifacts"][0]["filename"] = "firmware.bin"
    talk(agent)
    assert offer.end == "failure"
    assert "no package" in offer.words


def test_without_a_key_list_nothing_is_installed(start: Start, server: StubServer, package: Maker, tmp_path: Path) -> None:
    agent = start(keys_file=tmp_path / "nowhere.json")
    offer = server.offer(package(7))
    talk(agent)
    assert offer.end == "failure"
    assert "nowhere.json cannot be read" in offer.words


@pytest.mark.parametrize("year", [1970, 2099])
def test_the_clock_that_counts_is_the_servers(
    agent: Agent, server: StubServer, package: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, year: int
) -> None:
    """A key valid in 2026 alone: by a wrong clock of the camera, nothing could be installed."""
    keys = tmp_path / "keys.json"
    key = json.loads(package.keys.read_text())["keys"][0]
    key |= {"not_before": "2026-01-01T00:00:00Z", "retired_at": "2027-01-01T00:00:00Z"}
    keys.write_text(json.dumps({"format_version": 1, "keys": [key]}))
    monkeypatch.setattr("services.camera.wire.datetime", _clock(year))
    agent._settings = agent._settings.model_copy(update={"keys_file": keys})
    agent._installer._keys = lambda: read_trusted(keys)

    def dated(request: httpx.Request) -> httpx.Response:
        answer = server._route(request)
        answer.headers["date"] = "Wed, 01 Jul 2026 12:00:00 GMT"
        return answer

    server.before = dated
    offer = server.offer(package(7))
    talk(agent)
    assert offer.end == "success", offer.words


def _clock(year: int) -> Any:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(year, 1, 1, tzinfo=tz)

    return Wrong


def test_what_is_cancelled_while_it_downloads_never_reaches_the_sensor(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    offer = server.offer(package(7))

    def cancel_at_download(request: httpx.Request) -> None:
        offer.cancelled = offer.cancelled or "/artifacts/" in request.url.path

    server.before = cancel_at_download
    talk(agent, 2)
    assert offer.end == "cancelled"
    assert sensor.loaded == []
    assert agent.state.action is None
    assert not any((agent._settings.folder).glob("incoming/*"))


def test_what_is_taken_back_is_forgotten(agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker) -> None:
    offer = server.offer(package(7))
    server.cut_after = 100
    talk(agent)
    assert agent.state.action is not None
    server.offers.remove(offer)
    talk(agent)
    assert agent.state.action is None
    assert sensor.loaded == []


def test_a_server_that_forgot_the_end_is_told_again(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    offer = server.offer(package(7))
    talk(agent)
    offer.end = None
    talk(agent)
    assert offer.end == "success"
    assert sensor.loaded == ["picosam2/7"]


def test_another_server_that_counts_from_one_as_well_is_not_confused(agent: Agent, server: StubServer, package: Maker) -> None:
    server.offer(package(7), id="1")
    talk(agent)
    server.offers.clear()
    second = server.offer(package(8), id="1")
    talk(agent)
    assert second.end == "success"
    assert agent.sensor.package == "picosam2/8"


def test_it_waits_where_hawkbit_says_so(agent: Agent, server: StubServer, package: Maker) -> None:
    offer = server.offer(package(7))

    def closed(request: httpx.Request) -> httpx.Response | None:
        if "/deploymentBase/" not in request.url.path or request.method != "GET":
            return None
        told = {"download": "forced", "update": "skip", "maintenanceWindow": "unavailable", "chunks": [offer.chunk]}
        return httpx.Response(200, json={"id": "1", "deployment": told})

    server.before = closed
    talk(agent)
    assert offer.said == []
    server.before = lambda _: None
    talk(agent)
    assert offer.end == "success"


def test_frames_that_stop_restart_the_sensor_and_after_that_the_package_before_runs(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    agent = start(first_frames_s=0.3)
    for release in (7, 8):
        server.offer(package(release))
        talk(agent)
    sensor.faults["picosam2/8"] = "silent"
    until(lambda: agent.sensor.is_silent, "silence")
    agent.turn()
    assert sensor.loaded.count("picosam2/8") == 3  # once installed, twice tried again
    assert agent.sensor.package == "picosam2/7"
    assert agent.state.current is not None
    assert agent.state.current.package == "picosam2/7"
    talk(agent)
    assert "picosam2/8 does not run any more: 0 frames came" in server.attributes["note"]
    assert "back to picosam2/7" in server.attributes["note"]


def test_a_stream_that_ends_again_and_again_is_given_up(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    agent = start(silence_s=0.1)
    for release in (7, 8):
        server.offer(package(release))
        talk(agent)
    for _ in range(3):
        sensor.pause_s = 10
        sensor._closed.set()
        until(lambda: agent.sensor.is_silent, "silence")
        sensor.pause_s = 0.001
        agent.turn()
    assert agent.sensor.package == "picosam2/7"


def test_a_sensor_on_which_nothing_runs_is_tried_again_later(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    agent = start()
    server.offer(package(7))
    talk(agent)
    sensor.faults["picosam2/7"] = "broken"
    agent = start()
    assert agent.sensor.package is None
    sensor.faults.clear()
    until(lambda: agent.turn() >= 0 and agent.sensor.package == "picosam2/7", "another try")


def test_a_package_damaged_on_the_disk_is_not_loaded(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    agent = start()
    for release in (7, 8):
        server.offer(package(release))
        talk(agent)
    assert agent.state.current is not None
    damaged = agent._settings.folder / "slots" / agent.state.current.name / "package" / "reference.onnx"
    damaged.write_bytes(bytes(damaged.stat().st_size))
    agent = start()
    assert agent.sensor.package == "picosam2/7"
    assert "damaged on the disk: reference.onnx" in agent.state.note


def test_a_driver_that_hangs_asks_for_a_restart_and_the_reason_survives_it(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.camera.sensor.CLOSING_S", 0.2)
    hanging = threading.Event()
    agent = start()
    server.offer(package(7))
    talk(agent)
    sensor.on_load = lambda name: hanging.wait(20) and None if name == "picosam2/8" else None
    offer = server.offer(package(8))
    with pytest.raises(RestartNeeded, match="stalled"):
        talk(agent)
    assert offer.end is None
    hanging.set()
    agent = start()
    talk(agent)
    assert offer.end == "failure"
    assert "the upload stalled" in offer.words
    assert agent.sensor.package == "picosam2/7"


def test_a_state_that_cannot_be_read_is_not_begun_anew_by_itself(start: Start, settings: Any) -> None:
    settings.folder.mkdir()
    (settings.folder / "state.json").write_text("{")
    with pytest.raises(StateUnreadable, match="Remove it to begin anew"):
        start()
    (settings.folder / "state.json").write_text(State().model_dump_json())
    start()


def test_a_list_of_keys_that_grows_counts_at_once(agent: Agent, server: StubServer, package: Maker, tmp_path: Path) -> None:
    key = generate(tmp_path / "next.pem")
    keys = tmp_path / "keys.json"
    keys.write_bytes(package.keys.read_bytes())
    agent._installer._keys = lambda: read_trusted(keys)
    content = package(8, key=tmp_path / "next.pem")
    refused = server.offer(content)
    talk(agent)
    trust(keys, key)
    taken = server.offer(content)
    talk(agent)
    assert (refused.end, taken.end) == ("failure", "success")
