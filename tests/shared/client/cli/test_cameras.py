"""`picofleet cameras` and `groups` against a scripted service: what is refused, and what is shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.client.cli import simulate, simulation_view
from shared.client.cli.groups import window_in_words
from shared.contracts.cameras import GroupIn
from tests.shared.client.answers import AT, a_page, a_problem
from tests.shared.client.fleet_answers import a_camera, a_group, a_provisioning_token, a_rollout, an_action

Run = Callable[..., Any]
Answer = Callable[..., Any]
KEYS = json.dumps({"keys": [{"id": "0" * 16, "public_key": "x"}]})


HOSTILE = [
    (("cameras", "register", ""), "controller_id"),
    (("cameras", "register", " c"), "blanks at an end"),
    (("cameras", "register", "c", "--label", "site"), "KEY=VALUE"),
    (("cameras", "register", "c", "--label", "site=a b"), "labels"),
    (("cameras", "register", "c", "--token", "short"), "token"),
    (("cameras", "list", "--unseen", "long"), "no length of time"),
    (("groups", "put", "b", "--time-zone", "Mars/Olympus"), "no time zone"),
    (("groups", "put", "b", "--maintenance", "25:00 3h"), "start"),
    (("groups", "put", "b", "--maintenance", "02:00"), "no window"),
    (("groups", "put", "b", "--maintenance", "noday 02:00 3h"), "no day"),
    (("groups", "put", "b", "--maintenance", "mon-fri-sun 02:00 3h"), "no day"),
    (("groups", "put", "b", "--maintenance", "02:00 2d"), "minutes"),
    (("provisioning-tokens", "create", "Big Name"), "name"),
    (("provisioning-tokens", "create", "b", "--label", "="), "KEY=VALUE"),
    (("cameras", "simulate", "0"), "greater than or equal"),
    (("cameras", "simulate", "2", "--failure-rate", "1.5"), "less than or equal"),
    (("cameras", "simulate", "2", "--poll", "never"), "no length of time"),
    (("cameras", "simulate", "2", "--poll", "0s"), "poll_s"),
    (("cameras", "simulate", "2", "--token-file", "FILE", "--keys", "KEYS"), "no names with tokens"),
    (("cameras", "simulate", "2", "--provisioning-token", "t", "--label", "a=b", "--keys", "KEYS"), "Labels come with"),
]


@pytest.mark.parametrize(("arguments", "said"), HOSTILE)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    run_scripted: Run, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(simulate, "_trusted", lambda *_: None)
    (tmp_path / "file").write_text('{"c": 3}')
    (tmp_path / "keys").write_text("{}")
    places = {"FILE": str(tmp_path / "file"), "KEYS": str(tmp_path / "keys")}
    ended = run_scripted(*(places.get(argument, argument) for argument in arguments))
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert script.requests == []


def test_everything_about_a_camera_is_shown(run_scripted: Run, script: Any, answer: Answer) -> None:
    telemetry = {
        "frames": 1790,
        "missing_frames": 10,
        "dnn_ms": 5.62,
        "sensor_celsius": 41,
        "golden": "passed",
        "agent": "0.1.0",
    }
    state = {"current_package": "picosam2/3", "last_good_package": "picosam2/2", "health": "bad", "health_reason": "hot [x]"}
    camera = a_camera("cam [1]", telemetry=telemetry, attributes={"serial": "77"}, last_seen=AT, **state)
    script.handlers = [answer(200, a_page(camera)), answer(200, a_page(an_action(message="self test failed")))]
    shown = run_scripted("cameras", "show", "cam [1]")
    assert shown.code == 0, shown.err
    for words in ("cam [1]", "picosam2/3", "picosam2/2", "bad: hot [x]", "1790 in 60 s, 10 missing", "5.6 ms", "serial = 77"):
        assert words in shown.out
    assert "self test failed" in shown.out


def test_labels_are_set_and_taken_away_and_the_others_stay(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_camera(labels={"a": "1", "b": "2"}))), answer(200, a_camera())]
    assert run_scripted("cameras", "label", "cam-1", "c=3", "a-").code == 0
    assert json.loads(script.requests[-1][3])["labels"] == {"b": "2", "c": "3"}


def test_a_label_may_end_in_a_hyphen_only_as_a_wish_to_take_it_away(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_camera(labels={"a": "1"}))), answer(200, a_camera())]
    assert run_scripted("cameras", "label", "cam-1", "b=x-").code == 2
    assert len(script.requests) == 1


@pytest.mark.parametrize("arguments", [("cameras", "rm", "cam-1"), ("groups", "rm", "b"), ("cameras", "token", "cam-1")])
def test_what_is_lost_wants_a_yes(run_scripted: Run, script: Any, answer: Answer, arguments: tuple[str, ...]) -> None:
    script.handlers = [answer(200, a_page(a_camera()))]
    ended = run_scripted(*arguments)
    assert (ended.code, "--yes" in ended.err) == (2, True)
    assert all(method == "GET" for method, *_ in script.asked)


def test_without_any_the_way_to_one_is_shown(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page())]
    assert "picofleet cameras register" in run_scripted("cameras", "list").err
    assert "picofleet groups put" in run_scripted("groups", "list").err
    assert "picofleet fleet-packages import" in run_scripted("fleet-packages", "list").err
    assert "picofleet provisioning-tokens create" in run_scripted("provisioning-tokens", "list").err


WINDOWS = ["02:00 3h", "sat,sun 22:00 90min", "mon,tue,wed,thu,fri 02:30 1h"]


@pytest.mark.parametrize("words", WINDOWS)
def test_maintenance_windows_are_read_as_they_are_shown(run_scripted: Run, script: Any, answer: Answer, words: str) -> None:
    script.handlers = [answer(200, a_group())]
    assert run_scripted("groups", "put", "b", "--maintenance", words).code == 0
    made = GroupIn.model_validate_json(script.requests[0][3])
    assert [window_in_words(window) for window in made.maintenance] == [words]


def test_days_may_be_a_span_over_the_end_of_the_week(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_group())]
    run_scripted("groups", "put", "b", "--maintenance", "sat-mon,wed 2:00 45min")
    (window,) = json.loads(script.requests[0][3])["maintenance"]
    assert (window["days"], window["start"], window["minutes"]) == (["sat", "sun", "mon", "wed"], "02:00:00", 45)


@pytest.fixture
def no_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is verified and nobody waits long."""
    monkeypatch.setattr(simulate, "_trusted", lambda *_: None)
    monkeypatch.setattr(simulate, "LOOK_S", 0.05)


@pytest.mark.usefixtures("no_cameras")
def test_cameras_that_nobody_lets_in_say_so_at_the_end(run_scripted: Run, script: Any, answer: Answer) -> None:
    refused = answer(401, a_problem(401, "This GatewayToken does not let [anybody] in."))
    script.handlers = [answer(201, a_provisioning_token()), *[refused] * 1000]
    ended = run_scripted("cameras", "simulate", "3", "--poll", "0.05", "--seconds", "1")
    assert ended.code == 0, ended.err
    assert "shut out" in ended.out
    assert "HTTP 401, last: This GatewayToken does not let [anybody] in." in ended.err
    assert "could not be revoked" in ended.err


@pytest.mark.usefixtures("no_cameras")
def test_json_has_each_camera(run_scripted: Run, script: Any, answer: Answer, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(json.dumps({"c1": "t1", "c2": "t2", "c3": "t3"}))
    script.handlers = [answer(200, '{"config": {"polling": {"sleep": "00:00:01"}}, "_links": {}}')]
    options = ("--token-file", str(tmp_path / "tokens"), "--poll", "0.05", "--seconds", "0.5", "--json")
    found = json.loads(run_scripted("cameras", "simulate", "2", *options).out)
    assert found["cameras"] == {name: {"state": "idle", "package": None} for name in ("c1", "c2")}
    assert {headers["authorization"] for *_, headers in script.asked} == {"TargetToken t1", "TargetToken t2"}


@pytest.mark.usefixtures("no_cameras")
def test_ctrl_c_ends_them_with_the_table(
    run_scripted: Run, script: Any, answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(simulation_view.PlainCounts, "update", interrupt)
    script.handlers = [answer(201, a_provisioning_token()), answer(200, "{}")]
    ended = run_scripted("cameras", "simulate", "3")
    assert ended.code == 0, ended.err
    assert "new    none  3" in ended.out
    assert script.asked[-1][0] == "DELETE", "their token is revoked"


@pytest.mark.usefixtures("no_cameras")
def test_they_end_with_the_rollout(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_rollout("finished"))), answer(201, a_provisioning_token())]
    script.handlers += [answer(200, a_rollout("finished")), answer(204)]
    ended = run_scripted("cameras", "simulate", "1", "--poll", "60", "--until-rollout", "last")
    assert ended.code == 0, ended.err
