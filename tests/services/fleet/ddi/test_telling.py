"""What devices tell of themselves: attributes, telemetry, samples."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from services.fleet.rollouts.models import Sample
from services.fleet.runtime import Services
from tests.services.fleet.ddi.conftest import Device, World

Png = Callable[..., bytes]


def put(device: Device, data: Any, mode: Any = "merge") -> int:
    return device.ask("PUT", "/configData", json={"mode": mode, "data": data}).status_code


def test_attributes_are_merged_replaced_and_taken_away(device: Device, world: World) -> None:
    assert put(device, {"a": "1", "b": "2"}) == 200
    assert put(device, {"b": 3, "c": True}, None) == 200
    assert world.camera(device).attributes == {"a": "1", "b": "3", "c": "true"}
    assert put(device, {"a": "", "x": ""}, "remove") == 200
    assert world.camera(device).attributes == {"b": "3", "c": "true"}
    assert put(device, {"only": "this"}, "replace") == 200
    assert world.camera(device).attributes == {"only": "this"}


def test_attributes_that_are_refused_change_nothing(device: Device, world: World) -> None:
    put(device, {"a": "1"})
    for data in ({"": "x"}, {"k" * 129: "x"}, {"k": "v" * 4097}, {"k": None}, {"k": {}}, [], "x", None):
        assert put(device, data) == 422
    assert put(device, {"k": "v"}, "explode") == 422
    assert put(device, {str(n): "v" * 4000 for n in range(17)}) == 413
    for content in (b"", b"{", b'{"data": {"k": "\\ud800"}}'):
        assert device.ask("PUT", "/configData", content=content).status_code in {400, 422}
    assert world.camera(device).attributes == {"a": "1"}


def test_attributes_that_grow_little_by_little_have_an_end(device: Device, world: World) -> None:
    answers = [put(device, {str(n): "\u00e9" * 4000}) for n in range(9)]
    assert answers == [200] * 8 + [413]
    assert len(world.camera(device).attributes) == 8


def test_telemetry_is_kept_with_our_time(device: Device, world: World) -> None:
    told = {"at": "1970-01-01T00:00:00Z", "frames": 10, "agent": "1.0", "unknown": {"to": "us"}}
    assert device.ask("POST", "/telemetry", json=told).status_code == 200
    kept = world.camera(device).telemetry
    assert kept is not None
    assert (kept["frames"], kept["at"], "unknown" in kept) == (10, "1970-01-01T00:00:00Z", False)
    assert kept["received_at"] > "2020"
    assert world.camera(device).health == "ok"
    assert device.ask("POST", "/telemetry", json={"frames": 10, "missing_frames": 90}).status_code == 200
    assert world.camera(device).health == "bad"


def test_telemetry_out_of_all_bounds_is_refused(device: Device, world: World) -> None:
    for told in ({"frames": -1}, {"span_s": 0}, {"dnn_ms": "fast"}, {"at": "yesterday"}, {"frames": 1e300}, [], None):
        assert device.ask("POST", "/telemetry", json=told).status_code == 422
    assert device.ask("POST", "/telemetry", content=b'{"dnn_ms": NaN}').status_code == 400
    assert world.camera(device).telemetry is None


@pytest.fixture
def running(device: Device, world: World) -> Device:
    device.report(world.action(device, world.package()), "closed", "success")
    return device


def sample(window: bytes, mask: bytes, **more: Any) -> dict[str, Any]:
    encoded = {"window": base64.b64encode(window).decode(), "mask": base64.b64encode(mask).decode()}
    return {"package": "line/1", "confidence": 0.5} | encoded | more


def kept(services: Services) -> list[Sample]:
    with services.sessions() as session:
        return list(session.scalars(select(Sample)))


def test_samples_are_kept_with_what_brought_the_package(running: Device, world: World, services: Services, png: Png) -> None:
    newer = world.action(running, world.package("2"))
    running.report(newer, "proceeding", details=["picofleet.state=self_testing"])
    first = sample(png(), png("1"))
    assert running.ask("POST", "/samples", json=first).status_code == 200
    assert running.ask("POST", "/samples", json=[sample(png(), png("1"), package="line/2"), first]).status_code == 200
    rows = kept(services)
    assert len(rows) == 3
    assert (rows[0].window, rows[0].mask, rows[0].confidence, rows[0].camera_id) == (png(), png("1"), 0.5, running.camera_id)
    assert rows[0].package_id == rows[2].package_id != rows[1].package_id


def test_samples_that_are_no_window_and_mask(running: Device, services: Services, png: Png) -> None:
    good, mask = png(), png("1")
    wrong = [
        (b"", mask),
        (b"no picture", mask),
        (good[:-30], mask),
        (good[:60] + b"\xff" * 8 + good[68:], mask),
        (png("L"), mask),
        (good, png("L")),
        (good, png("1", (96, 95))),
        (png(size=(257, 1)), png("1", (257, 1))),
        (b"GIF89a" + good, mask),
    ]
    for window, mask_ in wrong:
        answer = running.ask("POST", "/samples", json=[sample(good, mask), sample(window, mask_)])
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/sample-invalid")
        assert "sample 1" in answer.json()["detail"]
    assert running.ask("POST", "/samples", json=sample(good, mask) | {"window": "*"}).status_code == 422
    assert running.ask("POST", "/samples", json=[]).status_code == 422
    assert running.ask("POST", "/samples", json=[sample(good, mask)] * 17).status_code == 422
    assert running.ask("POST", "/samples", json=[sample(good, mask), sample(good, mask, package="line/9")]).status_code == 409
    assert kept(services) == []


def test_samples_of_one_camera_are_limited(running: Device, services: Services, png: Png) -> None:
    batch = [sample(png(), png("1"))] * 16
    assert [running.ask("POST", "/samples", json=batch).status_code for _ in range(3)] == [200] * 3
    refused = running.ask("POST", "/samples", json=batch)
    assert (refused.status_code, len(kept(services))) == (429, 48)
    assert 3500 < int(refused.headers["retry-after"]) <= 3600
    assert running.ask("POST", "/samples", json=batch[:12]).status_code == 200
    assert running.ask("POST", "/samples", json=batch[0]).status_code == 429
