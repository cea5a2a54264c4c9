"""The agent as a server sees it that speaks DDI and knows nothing of Picofleet."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from services.camera.agent import Agent
from tests.services.camera.conftest import Maker
from tests.services.camera.doubles import FakeSensor, StubServer, until

Start = Callable[..., Agent]


def talk(agent: Agent, times: int = 1) -> None:
    """Turns in which a poll is due."""
    for _ in range(times):
        agent._poll_at = 0.0
        agent.turn()


def test_a_package_is_installed_proven_and_reported_in_order(
    agent: Agent, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    offer = server.offer(package(7))
    talk(agent)
    assert offer.end == "success"
    assert sensor.running == agent.sensor.package == "picosam2/7"
    assert [each["status"]["execution"] for each in offer.said] == [
        "download",
        "downloaded",
        "proceeding",
        "proceeding",
        "proceeding",
        "closed",
    ]
    states = [line for line in offer.words.splitlines() if line.startswith("picofleet.state=")]
    assert states == ["picofleet.state=verifying", "picofleet.state=installing", "picofleet.state=self_testing"]


def test_a_quiet_server_is_asked_with_the_etag_and_answers_nothing_new(agent: Agent, server: StubServer) -> None:
    talk(agent, 3)
    polls = [each for each in server.requests if each.method == "GET"]
    assert [("if-none-match" in each.headers) for each in polls] == [False, True, True]


def test_the_pause_is_what_the_server_wants_give_or_take_a_tenth(agent: Agent, server: StubServer) -> None:
    server.sleep = "01:00:00"
    agent._takes_telemetry = False
    assert 3200 < agent.turn() <= 3960


def test_work_that_failed_is_offered_again_whatever_the_etag(agent: Agent, server: StubServer, package: Maker) -> None:
    offer = server.offer(package(7))
    server.cut_after = 1000
    talk(agent, 2)
    assert offer.end == "success"


def test_attributes_are_told_when_asked_and_when_they_change(agent: Agent, server: StubServer, package: Maker) -> None:
    talk(agent)
    assert server.attributes["package"] == "none"
    server.offer(package(7))
    talk(agent)
    assert server.attributes["package"] == "picosam2/7"
    server.attributes, server.wants_attributes = {}, True
    talk(agent)
    assert server.attributes["golden"] == "passed"


def test_telemetry_stops_where_nobody_knows_it(start: Start, server: StubServer) -> None:
    agent = start(telemetry_s=0.001)
    agent._telemetry_at = 0.0
    agent.turn()
    agent._telemetry_at = 0.0
    agent.turn()
    assert sum(each.url.path.endswith("/telemetry") for each in server.requests) == 1


def test_telemetry_says_how_the_frames_are_and_adds_up_while_nobody_hears(
    start: Start, server: StubServer, package: Maker
) -> None:
    heard: list[dict[str, Any]] = []

    def take(request: httpx.Request) -> httpx.Response | None:
        if not request.url.path.endswith("/telemetry"):
            return None
        heard.append(json.loads(request.content))
        return httpx.Response(503 if len(heard) == 1 else 200)

    server.before = take
    agent = start()
    server.offer(package(7))
    talk(agent)
    until(lambda: agent._figures._sum.frames > 5, "frames")
    for _ in range(2):
        agent._telemetry_at = 0.0
        agent.turn()
    first, second = heard
    assert second["frames"] >= first["frames"] >= 5
    assert second["span_s"] > first["span_s"]
    assert second["dnn_ms"] == 15.0
    assert second["dsp_ms"] == 1.0
    assert second["mask_area"] == 1.0
    assert second["golden"] == "passed"
    assert second["sensor_celsius"] == 41.5
    assert second["package"] == "picosam2/7"


def test_a_server_that_is_gone_is_asked_ever_less_often(agent: Agent, server: StubServer) -> None:
    server.offline = True
    agent._takes_telemetry = False
    pauses = []
    for _ in range(12):
        agent._poll_at = 0.0
        pauses.append(agent.turn())
    assert max(pauses[:2]) <= 4
    assert max(pauses) <= 300
    assert max(pauses[6:]) > 30


@pytest.mark.parametrize("status", [429, 503])
def test_the_server_may_say_when_to_come_back(agent: Agent, server: StubServer, status: int) -> None:
    server.before = lambda _: httpx.Response(status, headers={"retry-after": "500"})
    agent._takes_telemetry = False
    assert agent.turn() >= 500


def test_gone_for_a_day_it_works_on_and_reports_later_in_order(
    start: Start, server: StubServer, sensor: FakeSensor, package: Maker
) -> None:
    agent = start()
    offer = server.offer(package(7))
    sensor.on_load = lambda _: setattr(server, "offline", True)
    talk(agent)
    assert agent.sensor.package == "picosam2/7"
    assert offer.end is None
    sensor.on_load = lambda _: None
    agent = start()  # a restart while the server is still away
    talk(agent, 5)
    assert agent.sensor.package == "picosam2/7"
    server.offline = False
    talk(agent)
    assert offer.end == "success"
    assert [each["status"]["execution"] for each in offer.said][-2:] == ["proceeding", "closed"]
    assert sensor.loaded == ["picosam2/7"] * 2
    assert agent.state.reports == []


def test_a_stranger_to_the_server_waits_and_runs_on(agent: Agent, server: StubServer, package: Maker) -> None:
    server.offer(package(7))
    talk(agent)
    server.before = lambda _: httpx.Response(401)
    talk(agent, 2)
    assert agent.sensor.package == "picosam2/7"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b"<html>"),
        httpx.Response(200, content=b"[" * 5000),
        httpx.Response(200, content=b"x" * (2 << 20)),
        httpx.Response(200, json={"_links": {"deploymentBase": {"href": "http://[::bad"}}}),
        httpx.Response(200, json={"_links": {"deploymentBase": 7}}),
        httpx.Response(302, headers={"location": "http://elsewhere.test/"}),
        httpx.Response(200, json={}),
    ],
)
def test_nonsense_of_a_server_ends_nothing(agent: Agent, server: StubServer, package: Maker, answer: httpx.Response) -> None:
    server.before = lambda _: httpx.Response(answer.status_code, content=answer.content, headers=answer.headers)
    talk(agent, 2)
    server.before = lambda _: None
    offer = server.offer(package(7))
    talk(agent)
    assert offer.end == "success"


def test_the_token_is_shown_to_its_own_server_alone(agent: Agent, server: StubServer, package: Maker) -> None:
    offer = server.offer(package(7))
    there = "http://cdn.test/7.tar"
    offer.chunk["artifacts"][0]["_links"] = {"download-http": {"href": there}}
    seen: list[httpx.Request] = []

    def elsewhere(request: httpx.Request) -> httpx.Response | None:
        if request.url.host != "cdn.test":
            return None
        seen.append(request)
        return httpx.Response(200, content=offer.content)

    server.before = elsewhere
    talk(agent)
    assert offer.end == "success"
    assert "authorization" not in seen[0].headers


def test_reports_that_wait_are_bounded_and_ends_are_kept(agent: Agent) -> None:
    from services.camera.state import MOST_REPORTS, Report

    state = agent.state.with_report(Report(place="deploymentBase/1/feedback", body={}, ends=True))
    for number in range(2 * MOST_REPORTS):
        state = state.with_report(Report(place=f"deploymentBase/{number}/feedback", body={}, ends=False))
    assert len(state.reports) == MOST_REPORTS
    assert state.reports[0].ends
    assert state.reports[-1].place == f"deploymentBase/{2 * MOST_REPORTS - 1}/feedback"
