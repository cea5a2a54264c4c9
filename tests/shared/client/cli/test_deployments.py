"""`picofleet deployments` against a scripted service."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.shared.client.answers import AT, a_deployment, a_page, a_problem, a_replica

Run = Callable[..., Any]
Answer = Callable[..., Any]
PART = {"model": "picosam2/3", "asked": "picosam2@champion", "percent": 90, "engine": "onnxruntime"}


@pytest.fixture
def agreeing(script: Any, answer: Answer) -> Any:
    """A service that makes every deployment as it is told."""
    script.handlers = [answer(200, a_deployment())]
    return script


def sent(script: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(script.requests[0][3])
    return found


def traffic(script: Any) -> list[tuple[str, int]]:
    return [(part["model"], part["percent"]) for part in sent(script)["versions"]]


@pytest.mark.parametrize(
    ("versions", "wanted"),
    [
        (["picosam2/3"], [("picosam2/3", 100)]),
        (["picosam2/3", "picosam2.int8@champion=10"], [("picosam2/3", 90), ("picosam2.int8@champion", 10)]),
        (["a/1=50", "b/1=30", "c/1=20"], [("a/1", 50), ("b/1", 30), ("c/1", 20)]),
        (["a/1", "b/1=100"], [("a/1", 0), ("b/1", 100)]),
    ],
)
def test_the_first_version_gets_what_the_others_leave(
    run_scripted: Run, agreeing: Any, versions: list[str], wanted: list[tuple[str, int]]
) -> None:
    ended = run_scripted("deployments", "put", "default", *versions)
    assert ended.code == 0, ended.err
    assert traffic(agreeing) == wanted
    assert "default generation 1: picosam2/2" in ended.out


def test_every_option_finds_its_place(run_scripted: Run, agreeing: Any) -> None:
    options = ("--shadow", "b/2=20", "--follow", "--engine", "openvino", "--parallel", "3", "--max-batch", "8", "--no-wait")
    assert run_scripted("deployments", "put", "default", "a@champion", *options).code == 0
    spec = sent(agreeing)
    assert spec["versions"] == [{"model": "a@champion", "percent": 100, "engine": "openvino"}]
    assert spec["shadow"] == {"model": "b/2", "percent": 20, "engine": "openvino"}
    assert (spec["follow_aliases"], spec["parallel"], spec["batching"]["max_batch"]) == (True, 3, 8)
    assert len(agreeing.requests) == 1, "nobody waits"


def test_a_file_holds_the_whole_specification(run_scripted: Run, agreeing: Any, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps({"versions": [{"model": "a/1"}], "max_queue": 7}))
    assert run_scripted("deployments", "put", "default", "--file", str(tmp_path / "spec.json")).code == 0
    assert sent(agreeing)["max_queue"] == 7


def a_fleet_deployment(**rollout: Any) -> str:
    spec = {"target": "fleet:berlin", "package": "picosam2/3"}
    return a_deployment("gate", spec=spec, versions=[], replicas=[], ready=False, rollout={"begun": False} | rollout)


def test_a_fleet_is_put_and_waited_for_until_its_rollout_has_begun(run_scripted: Run, script: Any, answer: Answer) -> None:
    begun = a_fleet_deployment(id="r-1", begun=True, state="running")
    script.handlers = [answer(200, a_fleet_deployment()), answer(200, a_fleet_deployment()), answer(200, begun)]
    ended = run_scripted("deployments", "put", "gate", "--fleet", "berlin", "--package", "picosam2/3")
    assert ended.code == 0, ended.err
    spec = sent(script)
    assert (spec["target"], spec["package"]) == ("fleet:berlin", "picosam2/3")
    assert "gate generation 1: picosam2/3 on fleet:berlin" in ended.out
    assert "picofleet rollouts watch r-1" in ended.out


def test_a_rollout_that_cannot_begin_is_an_error_with_its_reason(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_fleet_deployment(error="There is no group named 'berlin'."))]
    ended = run_scripted("deployments", "put", "gate", "--fleet", "berlin", "--package", "picosam2/3")
    assert ended.code != 0
    assert "no group named 'berlin'" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--fleet", "berlin"),
        ("--package", "picosam2/3"),
        ("picosam2/3", "--fleet", "berlin", "--package", "picosam2/3"),
        ("--fleet", "berlin", "--package", "picosam2/3", "--follow"),
    ],
)
def test_a_fleet_goes_with_a_package_alone(run_scripted: Run, script: Any, arguments: tuple[str, ...]) -> None:
    assert run_scripted("deployments", "put", "gate", *arguments).code == 2
    assert script.requests == []


def test_both_kinds_are_listed_and_a_fleet_is_shown_by_phases(run_scripted: Run, script: Any, answer: Answer) -> None:
    phase = {"number": 1, "state": "soaking", "spec": {"count": 5}, "cameras": 5, "counts": {"failed": 1, "running": 4}}
    running = a_fleet_deployment(id="r-1", begun=True, state="running", phases=[phase])
    script.handlers = [answer(200, a_page(running, a_deployment())), answer(200, running)]
    listed = run_scripted("deployments", "list").out
    assert "picosam2/3 on fleet:berlin" in listed
    assert "picosam2/2" in listed
    shown = run_scripted("deployments", "show", "gate").out
    assert "soaking" in shown
    assert "4 running, 1 failed" in shown


HOSTILE = [
    ((), "No version is named"),
    (("a/1=50", "b/1=40"), "90, not 100"),
    (("a/1", "b/1"), "b/1=PERCENT"),
    (("a/1", "b/1=101"), "percent"),
    (("a/1", "b/1=-5"), "no percentage"),
    (("a/1", "b/1=x"), "no percentage"),
    (("a/1", "b/1=٣"), "no percentage"),
    (("a/1=",), "no percentage"),
    (("a/0",), "model"),
    (("a",), "model"),
    (("../a/1",), "model"),
    (("a/1", "a/1=10"), "named twice"),
    (("a/1", "--engine", "magic"), "magic"),
    (("a/1", "--max-batch", "65"), "equal to 64"),
    (("a/1", "--shadow", "b/1=0"), "shadow"),
    (("a/1", "--file", "FILE"), "holds all of it"),
    (("--file", "FILE"), "no JSON"),
]


@pytest.mark.parametrize(("arguments", "said"), HOSTILE)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    run_scripted: Run, agreeing: Any, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "file").write_text("{")
    given = [str(tmp_path / "file") if argument == "FILE" else argument for argument in arguments]
    ended = run_scripted("deployments", "put", "default", *given)
    assert ended.code == 2, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert agreeing.requests == []


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", "null", '{"versions": [], "x": 1}', "\x00", " " * (1 << 21)])
def test_a_file_that_is_no_specification_is_refused(run_scripted: Run, agreeing: Any, tmp_path: Path, content: str) -> None:
    (tmp_path / "spec.json").write_text(content)
    ended = run_scripted("deployments", "put", "default", "--file", str(tmp_path / "spec.json"))
    assert (ended.code, agreeing.requests) == (2, [])
    assert "Traceback" not in ended.err


def test_one_that_cannot_be_served_is_exit_code_1_with_the_reason(run_scripted: Run, script: Any, answer: Answer) -> None:
    failed = a_deployment(ready=False, replicas=[a_replica(state="failed", error="no such [model]")])
    script.handlers = [answer(200, failed)]
    ended = run_scripted("deployments", "put", "default", "a/1")
    assert ended.code == 1
    assert "no such [model]" in ended.err
    assert run_scripted("deployments", "put", "default", "a/1", "--no-wait").code == 0


def test_show_tells_parts_replicas_and_the_shadow(run_scripted: Run, script: Any, answer: Answer) -> None:
    other = PART | {"model": "picosam2.int8/1", "asked": "picosam2.int8/1", "percent": 10, "engine": "openvino"}
    shadow = PART | {"model": "picosam2/4", "asked": "picosam2/4", "percent": 100}
    report = {"model": "picosam2/4", "compared": 812, "skipped": 3, "failed": 1, "mask_iou": 0.914, "agreeing": 0.77}
    replicas = [a_replica(), a_replica(replica="there", state="failed", generation=None, error="out of [memory]")]
    shown = a_deployment(ready=False, versions=[PART, other], shadow=shadow, shadow_report=report, replicas=replicas)
    script.handlers = [answer(200, shown)]
    ended = run_scripted("deployments", "show", "default")
    assert ended.code == 0, ended.err
    for said in ("generation 1", "failed", "picosam2@champion", "90 %", "openvino", "there", "out of [memory]", "put, by ada"):
        assert said in ended.out
    assert "812 compared, 3 skipped, 1 failed; mean IoU of masks 0.914, 77.0% agree" in ended.out
    assert json.loads(run_scripted("deployments", "show", "default", "--json").out)["shadow_report"]["compared"] == 812


def test_list_and_revisions(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page(a_deployment("demo"), a_deployment("fast", ready=False, replicas=[])))]
    listed = run_scripted("deployments", "list").out
    assert "demo" in listed
    assert "no replica" in listed
    revision = {"generation": 2, "spec": {"versions": [{"model": "a/1"}]}, "versions": [PART]}
    script.handlers = [
        answer(200, a_page(json.dumps(revision | {"created_at": AT, "created_by": "eve", "reason": "rollback to 1"})))
    ]
    assert "rollback to 1" in run_scripted("deployments", "revisions", "demo").out


def test_without_any_the_way_to_one_is_shown(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, a_page())]
    assert "picofleet deployments put default" in run_scripted("deployments", "list").err


def test_a_rollback_names_its_generation(run_scripted: Run, agreeing: Any) -> None:
    assert run_scripted("deployments", "rollback", "default", "--to", "3").code == 0
    assert agreeing.asked[0][:2] == ("POST", "/v1/deployments/default/rollback")
    assert sent(agreeing) == {"generation": 3}


def test_removing_wants_a_yes(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(204)]
    assert run_scripted("deployments", "rm", "default").code == 2
    assert script.requests == []
    assert run_scripted("deployments", "rm", "default", "--yes").code == 0
    assert script.asked[0][:2] == ("DELETE", "/v1/deployments/default")


def test_a_refusal_is_exit_code_4(run_scripted: Run, script: Any, answer: Answer) -> None:
    script.handlers = [answer(404, a_problem(404, "There is no deployment named 'x'."))]
    ended = run_scripted("deployments", "show", "x")
    assert (ended.code, "There is no deployment named 'x'." in ended.err) == (4, True)


def test_names_of_deployments_are_completed(script: Any, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.client.cli.completion import complete_deployment

    monkeypatch.setenv("PICOFLEET_URL", script.url)
    script.handlers = [answer(200, a_page(a_deployment("demo"), a_deployment("fast")))]
    assert complete_deployment("f") == [("fast", "picosam2/2")]
