"""`picofleet rollouts` against a scripted service: what is asked for, and how a rollout looks."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from shared.client.cli import rollout_view
from shared.client.cli.common import Interrupted, UsageError
from shared.client.cli.durations import in_words, seconds
from shared.client.cli.rollout_options import default_name, phases, sizes
from shared.client.cli.rollout_view import FailureShare, LiveRollout, bar, counts_in_words, drawing, follow_rollout, soak_left_s
from shared.client.sdk import PicofleetClient
from shared.contracts.rollouts import ActionState, PhaseOut, RolloutIn, RolloutOut
from tests.shared.client.answers import a_page, a_problem
from tests.shared.client.fleet_answers import (
    ROLLOUT,
    a_camera,
    a_fleet_package,
    a_phase,
    a_preview,
    a_rollout,
    an_action,
)

Run = Callable[..., Any]
Answer = Callable[..., Any]
NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def agreeing(script: Any, answer: Answer) -> Any:
    """A service that has the package and makes every rollout a draft."""
    script.handlers = [answer(200, a_fleet_package()), answer(201, a_rollout("draft"))]
    return script


def sent(script: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(script.requests[-1][3])
    return found


def a_rollout_out(state: str = "running", **changes: Any) -> RolloutOut:
    return RolloutOut.model_validate_json(a_rollout(state, **changes))


def drawn(rollout: RolloutOut, now: datetime = NOW) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(drawing(rollout, now))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_rollout_with_nothing_but_package_and_group(run_scripted: Run, agreeing: Any) -> None:
    ended = run_scripted("rollouts", "create", "picosam2/3", "--group", "berlin")
    assert ended.code == 0, ended.err
    body = sent(agreeing)
    assert (body["name"], body["group"], body["start"]) == ("picosam2-3", "berlin", False)
    assert [phase["percent"] for phase in body["phases"]] == [5, 25, 100]
    assert f"picofleet rollouts start {ROLLOUT}" in ended.err


def test_every_option_finds_its_place(run_scripted: Run, agreeing: Any) -> None:
    shape = ("--phases", "1,25%,100%", "--soak", "10m", "--success", "90", "--failure", "3", "--failure-min", "2")
    policy = ("--on-failure", "pause", "--approve-phase", "3", "--priority", "70", "--no-late-joiners", "--deadline", "2d")
    pace = ("--per-minute", "60", "--growth", "2", "--max-dnn-ms", "40", "--no-golden", "--min-agreement", "0.8")
    ended = run_scripted("rollouts", "create", "picosam2/3", "-l", "site=a", "--name", "v3", *shape, *policy, *pace, "--start")
    assert ended.code == 0, ended.err
    body = sent(agreeing)
    assert [phase["count"] or phase["percent"] for phase in body["phases"]] == [1, 25, 100]
    assert [phase["approval"] for phase in body["phases"]] == [False, False, True]
    assert {(p["soak_s"], p["success_percent"], p["failure_percent"], p["failure_min"]) for p in body["phases"]} == {
        (600, 90, 3, 2)
    }
    assert body["phases"][0]["quality"]["min_agreement"] == 0.8
    assert (body["rate"]["per_minute"], body["rate"]["growth"], body["deadline_s"]) == (60, 2, 172_800)
    assert (body["health"]["max_dnn_ms"], body["health"]["golden"], body["health"]["max_restarts"]) == (40, False, 3)
    assert (body["on_failure"], body["priority"], body["late_joiners"], body["start"]) == ("pause", 70, False, True)


def test_cameras_are_named_by_what_they_call_themselves(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_camera("c1"))), answer(200, a_fleet_package()), answer(201, a_rollout("draft"))]
    assert run_scripted("rollouts", "create", "picosam2/3", "--camera", "c1").code == 0
    assert sent(script)["cameras"] == ["id-of-c1"]


def test_a_package_that_is_not_there_is_imported_first(run_scripted: Run, script: Any, answer: Answer) -> None:
    missing = answer(404, a_problem(404, "no such package"))
    script.handlers = [missing, answer(201, a_fleet_package()), answer(201, a_rollout("draft"))]
    assert "imported and verified" in run_scripted("rollouts", "create", "picosam2/3", "--group", "b").err
    assert script.asked[1][:2] == ("POST", "/v1/fleet/packages")


def test_a_file_holds_the_whole_rollout_and_options_go_before_it(run_scripted: Run, agreeing: Any, tmp_path: Path) -> None:
    spec = {"name": "x", "package": "picosam2/3", "selector": "", "phases": [{"count": 2}], "priority": 3}
    (tmp_path / "r.json").write_text(json.dumps(spec))
    ended = run_scripted("rollouts", "create", "--file", str(tmp_path / "r.json"), "--priority", "9")
    assert ended.code == 0, ended.err
    assert (sent(agreeing)["name"], sent(agreeing)["priority"], sent(agreeing)["phases"][0]["count"]) == ("x", 9, 2)


HOSTILE = [
    ((), "No package is named"),
    (("picosam2/3",), "To which cameras?"),
    (("picosam2", "--group", "b"), "package"),
    (("picosam2/3", "--group", "b", "-l", "x=y"), "one of group, selector and cameras"),
    (("picosam2/3", "--group", "b", "--phases", "5%,1%"), "rise from one to the next"),
    (("picosam2/3", "--group", "b", "--phases", "x"), "no size of a phase"),
    (("picosam2/3", "--group", "b", "--phases", ""), "no size of a phase"),
    (("picosam2/3", "--group", "b", "--phases", "0"), "greater than or equal to 1"),
    (("picosam2/3", "--group", "b", "--phases", "1.5"), "no size of a phase"),
    (("picosam2/3", "--group", "b", "--phases", "120%"), "less than or equal to 100"),
    (("picosam2/3", "--group", "b", "--phases", "5%,20"), "last must be percent 100"),
    (("picosam2/3", "--group", "b", "--phases", "\u0663"), "no size of a phase"),
    (("picosam2/3", "--group", "b", "--approve-phase", "4"), "there are 3 phases"),
    (("picosam2/3", "--group", "b", "--soak", "soon"), "no length of time"),
    (("picosam2/3", "--group", "b", "--soak", "60d"), "soak_s"),
    (("picosam2/3", "--group", "b", "--deadline", "-1d"), "no length of time"),
    (("picosam2/3", "--group", "b", "--failure", "101"), "failure_percent"),
    (("picosam2/3", "--group", "b", "--min-agreement", "nan"), "min_agreement"),
    (("picosam2/3", "--group", "b", "--name", "Not A Name"), "name"),
    (("picosam2/3", "--group", "b", "--approval", "--start"), "cannot start at once"),
    (("--file", "FILE"), "no JSON"),
]


@pytest.mark.parametrize(("arguments", "said"), HOSTILE)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    run_scripted: Run, agreeing: Any, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("{")
    ended = run_scripted("rollouts", "create", *(str(tmp_path / "file") if each == "FILE" else each for each in arguments))
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert agreeing.requests == []


@pytest.mark.parametrize("content", ["[]", "null", "[" * 100_000, '{"name": "x"}', '{"nmae": "x"}', "\x00", " " * (5 << 20)])
def test_a_file_that_is_no_rollout_is_refused(run_scripted: Run, agreeing: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "r.json").write_text(content)
    ended = run_scripted("rollouts", "create", "--file", str(tmp_path / "r.json"))
    assert (ended.code, agreeing.requests) == (2, [])
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(("state", "code"), [("finished", 0), ("aborted", 1), ("rolled_back", 1)])
def test_watching_ends_with_the_rollout(run_scripted: Run, script: Any, answer: Answer, state: str, code: int) -> None:
    script.handlers = [answer(200, a_rollout()), answer(200, a_rollout(state, reason="2 of 3 failed [x]"))]
    ended = run_scripted("rollouts", "watch", ROLLOUT)
    assert ended.code == code
    assert "2 of 3 failed [x]" in ended.out
    assert ("rollouts actions" in ended.err) is bool(code)


def test_watching_as_json_prints_how_it_ended(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_rollout("finished"))]
    assert json.loads(run_scripted("rollouts", "watch", "--json", ROLLOUT).out)["state"] == "finished"


def test_ctrl_c_ends_watching_and_says_how_to_come_back(script: Any, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    script.handlers = [answer(200, a_rollout())]

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rollout_view.PlainRollout, "update", interrupt)
    with PicofleetClient(script.url) as client, pytest.raises(Interrupted, match="v3 goes on") as caught:
        follow_rollout(client, a_rollout_out())
    assert f"picofleet rollouts watch {ROLLOUT}" in caught.value.hint


def test_plain_lines_tell_each_change_once(run_scripted: Run, script: Any, answer: Answer) -> None:
    later = a_phase(counts={"running": 3, "failed": 1}, state="soaking")
    script.handlers = [answer(200, a_rollout()), answer(200, a_rollout()), answer(200, a_rollout("finished", phases=[later]))]
    lines = run_scripted("rollouts", "watch", ROLLOUT).err.splitlines()
    assert [line.partition("] ")[2] for line in lines if "phase 1" in line] == [
        "phase 1: running  3 running, 1 pending",
        "phase 1: soaking  3 running, 1 failed  failed 25 % (limit 10 %)",
    ]


def test_preview_actions_list_and_show(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_rollout()), answer(200, a_preview())]
    assert "10 cameras; 2 run it already, 1 are busy" in run_scripted("rollouts", "preview", ROLLOUT).out
    script.handlers = [answer(200, a_page(a_rollout())), answer(200, a_page(an_action(message="self test [failed]")))]
    script.requests.clear()
    assert "self test [failed]" in run_scripted("rollouts", "actions", "last", "--state", "failed", "--phase", "1").out
    script.handlers = [answer(200, a_page(a_rollout("paused", reason="too many")))]
    assert "too many" in run_scripted("rollouts", "list").out
    script.handlers = [answer(200, a_rollout("paused", reason="too many"))]
    shown = run_scripted("rollouts", "show", ROLLOUT)
    assert "group berlin" in shown.out
    assert "rollouts resume" in shown.err


def test_without_any_the_way_to_one_is_shown(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page())]
    assert "picofleet rollouts create" in run_scripted("rollouts", "list").err
    last = run_scripted("rollouts", "watch", "last")
    assert (last.code, "picofleet rollouts create" in last.err) == (2, True)


def test_a_name_that_is_none_is_refused_by_the_service(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page()), answer(404, a_problem(404, "There is no such rollout."))]
    assert run_scripted("rollouts", "pause", "nope").code == 4


def test_the_drawing_has_phases_shares_soak_and_reason() -> None:
    soaking = a_phase(state="soaking", soaking_since="2026-05-01T11:55:00Z", counts={"running": 9, "failed": 1}, agreement=0.93)
    waiting = a_phase(2, state="waiting", counts={"pending": 10})
    shown = drawn(a_rollout_out("paused", phases=[soaking, waiting], reason="1 of 10 [cameras] failed"))
    for words in ("soaking, 5:00 left", "9 running, 1 failed", "failed 10 % (limit 10 %)", "agreement 0.930", "10 pending"):
        assert words in shown
    assert "1 of 10 [cameras] failed" in shown
    assert f"picofleet rollouts resume {ROLLOUT}" in shown


def test_returning_cameras_have_a_line_of_their_own() -> None:
    assert "returning" in drawn(a_rollout_out("rolling_back", restores={"running": 2, "pending": 1}))


def test_a_live_view_without_an_answer_yet_draws_nothing() -> None:
    view = LiveRollout()
    assert str(view.drawn()) == ""
    view.update(a_rollout_out())
    assert str(view.drawn()) != ""


def test_a_soak_counts_down_to_nothing_and_no_further() -> None:
    phase = PhaseOut.model_validate(a_phase(state="soaking", soaking_since=NOW, spec={"percent": 100, "soak_s": 60}))
    assert [soak_left_s(phase, NOW + timedelta(seconds=s)) for s in (0, 45, 61)] == [60, 15, 0]
    assert soak_left_s(PhaseOut.model_validate(a_phase()), NOW) is None


COUNTS = st.dictionaries(st.sampled_from(ActionState), st.integers(0, 10_000))


@given(counts=COUNTS, cells=st.integers(13, 60))
def test_a_bar_is_as_long_as_it_should_be_and_shows_every_failure(counts: dict[ActionState, int], cells: int) -> None:
    made = bar(counts, cells)
    assert len(made.plain) == cells
    assert any(span.style == "red" for span in made.spans) == (counts.get(ActionState.FAILED, 0) > 0)


def test_one_failure_of_ten_thousand_has_a_cell() -> None:
    made = bar({ActionState.RUNNING: 10_000, ActionState.FAILED: 1, ActionState.RESTORED: 1}, 20)
    assert [(span.style, span.end - span.start) for span in made.spans] == [("green", 18), ("red", 1), ("magenta", 1)]


@given(counts=COUNTS)
def test_counts_in_words_leave_nothing_out(counts: dict[ActionState, int]) -> None:
    numbers = [int(part.split()[0]) for part in counts_in_words(counts).split(", ") if part]
    assert sum(numbers) == sum(counts.values())


@given(failed=st.integers(0, 1000), succeeded=st.integers(0, 1000), limit=st.integers(0, 100), least=st.integers(1, 50))
def test_a_failure_share_is_red_exactly_when_it_is_too_much(failed: int, succeeded: int, limit: int, least: int) -> None:
    share = FailureShare(failed, succeeded, limit, least)
    above = failed >= least and failed > 0 and failed / (failed + succeeded) > limit / 100 + 1e-12
    assert share.too_much is above
    assert bool(str(share)) is (failed > 0)


@given(counts=st.lists(st.integers(1, 10**6), min_size=1, max_size=5), blanks=st.booleans())
def test_sizes_are_read_as_they_are_written(counts: list[int], blanks: bool) -> None:
    assert sizes((", " if blanks else ",").join(map(str, counts))) == [{"count": count} for count in counts]


@given(text=st.text(max_size=20))
def test_any_other_text_is_refused_and_nothing_else_is_raised(text: str) -> None:
    for read in (sizes, lambda given: seconds(given, "--soak")):
        try:
            read(text)
        except UsageError:
            continue


@given(length=st.integers(1, 10**6), unit=st.sampled_from(["s", "m", "min", "h", "d", ""]))
def test_lengths_of_time_are_read_and_said_again(length: int, unit: str) -> None:
    read = seconds(f"{length}{unit}", "--soak")
    assert read == length * {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}[unit]
    assert seconds(in_words(read).replace(" ", ""), "--soak") == read


@given(line=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._ -]{0,127}/[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"))
def test_a_package_always_has_a_name_for_its_rollout(line: str) -> None:
    assert RolloutIn(name=default_name(line), package=line, selector="").name


def test_phases_without_sizes_are_the_usual_ones() -> None:
    assert [phase["percent"] for phase in phases(None, soak="1s")] == [5, 25, 100]
