"""The fleet in the SDK, against a scripted service: what is asked, and what goes wrong on the wire."""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.client.errors import DownloadError, ProblemError, RolloutNotOver, UnexpectedAnswer
from shared.client.sdk import PicofleetClient
from shared.contracts.base import digest_of
from shared.contracts.cameras import CameraChange, CameraIn, GroupIn, HealthState, ProvisioningTokenIn
from shared.contracts.rollouts import ActionState, CloneIn, PackageImport, RolloutIn, RolloutState
from tests.shared.client.answers import a_page, a_problem
from tests.shared.client.fleet_answers import (
    ROLLOUT,
    a_camera,
    a_fleet_package,
    a_group,
    a_preview,
    a_provisioning_token,
    a_rollout,
    an_action,
    an_event,
)

Answer = Callable[..., Any]
PATH = f"/v1/fleet/rollouts/{ROLLOUT}"
ROLLOUT_IN = RolloutIn(name="v3", package="picosam2/3", group="berlin")


@pytest.fixture
def fleet(script: Any) -> Iterator[Any]:
    """The fleet of a client whose jobs service is nobody."""
    with PicofleetClient("http://127.0.0.1:9", "pf_key", fleet_url=script.url, retries=2) as client:
        yield client.fleet


def test_the_fleet_service_is_found_under_its_own_url_with_the_key(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(201, a_camera(token="t0ken"))]
    made = fleet.cameras.register(CameraIn(controller_id="cam-1", labels={"site": "berlin"}))
    assert (made.token, fleet.url) == ("t0ken", script.url)
    ((method, path, headers, body),) = script.requests
    assert (method, path, headers["Authorization"]) == ("POST", "/v1/fleet/cameras", "Bearer pf_key")
    assert json.loads(body)["labels"] == {"site": "berlin"}


def test_behind_a_gateway_one_url_is_enough(script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_group()))]
    with PicofleetClient(script.url, "pf_key") as client:
        assert [group.cameras for group in client.fleet.groups.list()] == [3]


def test_the_environment_names_the_fleet_service(script: Any, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICOFLEET_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PICOFLEET_FLEET_URL", script.url)
    script.handlers = [answer(200, a_page())]
    with PicofleetClient(api_key="pf_key") as client:
        assert list(client.fleet.rollouts.list()) == []


def test_filters_are_sent_and_empty_ones_are_not(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page())]
    list(fleet.cameras.list(selector="site=a,b!=c", health=HealthState.BAD, limit=7))
    list(fleet.rollouts.list(states=[RolloutState.RUNNING, RolloutState.PAUSED]))
    list(fleet.rollouts.actions(ROLLOUT, states=[ActionState.FAILED], phase=2))
    first, second, third = (path for _, path, _ in script.asked)
    assert first == "/v1/fleet/cameras?selector=site%3Da%2Cb%21%3Dc&health=bad&limit=7"
    assert second == "/v1/fleet/rollouts?state=running&state=paused&limit=100"
    assert third == f"{PATH}/actions?state=failed&phase=2&limit=100"


def test_a_camera_is_found_by_what_it_calls_itself_or_by_its_id(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_camera("a/b"))), answer(200, a_page()), answer(200, a_camera())]
    assert fleet.cameras.named("a/b").id == "id-of-a/b"
    assert fleet.cameras.named("id-of-cam-1").controller_id == "cam-1"
    assert [path for _, path, _ in script.asked] == [
        "/v1/fleet/cameras?controller_id=a%2Fb&limit=1",
        "/v1/fleet/cameras?controller_id=id-of-cam-1&limit=1",
        "/v1/fleet/cameras/id-of-cam-1",
    ]


CALLS: list[tuple[Callable[[Any], Any], str, str, str]] = [
    (lambda f: f.cameras.change("x", CameraChange(labels={})), "PATCH", "/v1/fleet/cameras/x", a_camera()),
    (lambda f: f.cameras.delete("../x"), "DELETE", "/v1/fleet/cameras/..%2Fx", ""),
    (lambda f: f.cameras.new_token("x"), "POST", "/v1/fleet/cameras/x/token", a_camera(token="t")),
    (lambda f: f.cameras.replace("x", "y"), "POST", "/v1/fleet/cameras/x/replace", a_camera()),
    (lambda f: f.cameras.refresh_attributes("x"), "POST", "/v1/fleet/cameras/x/attributes/refresh", a_camera()),
    (lambda f: list(f.cameras.actions("x")), "GET", "/v1/fleet/cameras/x/actions?limit=100", a_page(an_action())),
    (lambda f: f.groups.put("b", GroupIn()), "PUT", "/v1/fleet/groups/b", a_group()),
    (lambda f: list(f.groups.cameras("b")), "GET", "/v1/fleet/groups/b/cameras?limit=100", a_page(a_camera())),
    (lambda f: f.groups.delete("b"), "DELETE", "/v1/fleet/groups/b", ""),
    (
        lambda f: f.provisioning_tokens.create(ProvisioningTokenIn(name="b")),
        "POST",
        "/v1/fleet/provisioning-tokens",
        a_provisioning_token(),
    ),
    (lambda f: f.provisioning_tokens.revoke("t/1"), "DELETE", "/v1/fleet/provisioning-tokens/t%2F1", ""),
    (lambda f: f.packages.import_(PackageImport(job="j")), "POST", "/v1/fleet/packages", a_fleet_package()),
    (lambda f: f.packages.get("picosam2/3"), "GET", "/v1/fleet/packages/picosam2/3", a_fleet_package()),
    (lambda f: f.packages.delete("a b/3"), "DELETE", "/v1/fleet/packages/a%20b/3", ""),
    (lambda f: f.packages.delete("a/3", force=True), "DELETE", "/v1/fleet/packages/a/3?force=true", ""),
    (lambda f: f.rollouts.preview(ROLLOUT), "GET", f"{PATH}/preview", a_preview()),
    (lambda f: f.rollouts.start(ROLLOUT), "POST", f"{PATH}/start", a_rollout()),
    (lambda f: f.rollouts.clone(ROLLOUT, CloneIn(name="w")), "POST", f"{PATH}/clone", a_rollout()),
    (lambda f: f.rollouts.delete(ROLLOUT), "DELETE", PATH, ""),
    (lambda f: f.actions.get(17), "GET", "/v1/fleet/actions/17", an_action()),
    (lambda f: list(f.events.list(rollout="r")), "GET", "/v1/fleet/events?rollout=r&limit=100", a_page(an_event(1))),
]


@pytest.mark.parametrize(("call", "method", "path", "body"), CALLS)
def test_every_call_has_its_route(
    fleet: Any, script: Any, answer: Answer, call: Callable[[Any], Any], method: str, path: str, body: str
) -> None:
    script.handlers = [answer(200 if body else 204, body)]
    call(fleet)
    assert script.asked[0][:2] == (method, path)


@pytest.mark.parametrize("verb", ["pause", "resume", "abort", "approve", "retry", "rollback"])
def test_what_is_done_to_a_rollout_has_a_reason(fleet: Any, script: Any, answer: Answer, verb: str) -> None:
    script.handlers = [answer(200, a_rollout("paused"))]
    assert getattr(fleet.rollouts, verb)(ROLLOUT, "too hot").state is RolloutState.PAUSED
    assert script.asked[0][:2] == ("POST", f"{PATH}/{verb}")
    assert json.loads(script.requests[0][3]) == {"reason": "too hot"}


def test_the_same_key_makes_a_rollout_once(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(503, a_problem(503, "later"), Retry_After="0"), answer(201, a_rollout("draft"))]
    assert fleet.rollouts.create(ROLLOUT_IN, idempotency_key="mine").id == ROLLOUT
    assert [headers["idempotency-key"] for *_, headers in script.asked] == ["mine", "mine"]


def test_a_rollout_is_found_by_id_or_by_the_newest_name(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_rollout()), answer(200, a_page(a_rollout(name="other"), a_rollout(reason="newest")))]
    assert fleet.rollouts.named(ROLLOUT).id == ROLLOUT
    assert fleet.rollouts.named("v3").reason == "newest"
    script.handlers = [answer(404, a_problem(404, "no such rollout"))]
    with pytest.raises(ProblemError, match="no such rollout"):
        fleet.rollouts.named(ROLLOUT)


def test_a_rollout_is_waited_for_to_its_end(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_rollout(state)) for state in ("running", "rolling_back", "rolled_back")]
    seen: list[RolloutState] = []
    ended = fleet.rollouts.wait(ROLLOUT, poll_s=0.01, on_poll=lambda found: seen.append(found.state))
    assert ended.state is RolloutState.ROLLED_BACK
    assert seen == [RolloutState.RUNNING, RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK]


def test_waiting_for_one_ends_in_time(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_rollout())]
    with pytest.raises(RolloutNotOver, match="v3 is running") as caught:
        fleet.rollouts.wait(ROLLOUT, wait_s=0.05, poll_s=0.01)
    assert f"picofleet rollouts show {ROLLOUT}" in caught.value.hint


def test_changes_of_a_rollout_are_told_once_each(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_rollout(state)) for state in ("running", "running", "finished")]
    assert [each.state.value for each in fleet.rollouts.follow(ROLLOUT, poll_s=0.01)] == ["running", "finished"]


def sse(*events: str) -> str:
    return "".join(f"id: {json.loads(event)['seq']}\nevent: x\ndata: {event}\n\n" for event in events)


def test_events_go_on_after_the_last_one_seen(fleet: Any, script: Any, answer: Answer) -> None:
    kind = "text/event-stream"
    first = sse(an_event(4), an_event(5)) + ": still here\n\n"
    script.handlers = [
        answer(200, first, kind=kind, cut=len(first) - 5),
        answer(503, a_problem(503, "later")),
        answer(200, sse(an_event(5), an_event(6)), kind=kind),
    ]
    found = list(itertools.islice(fleet.events.stream(after=3, rollout="r"), 3))
    assert [event.seq for event in found] == [4, 5, 6]
    assert [headers["last-event-id"] for *_, headers in script.asked] == ["3", "5", "5"]
    assert script.asked[0][1] == "/v1/fleet/events/stream?rollout=r"


def test_a_stream_of_something_else_is_said_to_be_one(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, "data: [1]\n\n", kind="text/event-stream")]
    with pytest.raises(UnexpectedAnswer):
        next(fleet.events.stream())


def test_a_refused_stream_is_not_tried_again(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(403, a_problem(403, "viewer is not enough"))]
    with pytest.raises(ProblemError, match="viewer"):
        next(fleet.events.stream())
    assert len(script.requests) == 1


def test_a_package_is_saved_whole_or_not_at_all(fleet: Any, script: Any, answer: Answer, tmp_path: Path) -> None:
    script.handlers = [answer(200, b"bytes", kind="application/x-tar")]
    saved = fleet.packages.download("picosam2/3", tmp_path / "p.tar", digest=digest_of(b"bytes"))
    assert saved.read_bytes() == b"bytes"
    with pytest.raises(DownloadError):
        fleet.packages.download("picosam2/3", tmp_path / "q.tar", digest=digest_of(b"others"))
    assert [path.name for path in tmp_path.iterdir()] == ["p.tar"]


def test_what_is_not_there_is_none_or_a_problem(fleet: Any, script: Any, answer: Answer) -> None:
    script.handlers = [answer(404, a_problem(404, "There is none."))]
    assert (fleet.packages.find("a/1"), fleet.groups.find("a")) == (None, None)
    with pytest.raises(ProblemError):
        fleet.packages.get("a/1")
