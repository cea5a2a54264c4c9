"""Sweeps as the command line shows them, and what it sends."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.contracts.jobs import JobError, JobKind
from shared.contracts.pipelines import (
    GridSearch,
    Objective,
    PipelineState,
    SweepBase,
    SweepOut,
    TrialOut,
    TrialState,
)

Run = Callable[..., Any]
FITTING = ("--train", "a/train", "--validation", "a/val")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_trial(number: int, state: TrialState = TrialState.SUCCEEDED, **more: Any) -> TrialOut:
    fixed = {"number": number, "state": state, "values": {"recipe.learning_rate": 0.001 * (number + 1)}, "started_at": NOW}
    return TrialOut(**(fixed | more))


def a_sweep(*trials: TrialOut, state: PipelineState = PipelineState.RUNNING, best: TrialOut | None = None) -> SweepOut:
    search = GridSearch(fields={"recipe.learning_rate": [0.001, 0.002]})
    counts = {kind: sum(trial.state is kind for trial in trials) for kind in TrialState}
    return SweepOut(
        id="5",
        name="rates",
        owner="o",
        tags={},
        base=SweepBase(kind=JobKind.TRAINING, spec={}),
        search=search,
        objective=Objective(),
        parallel=1,
        state=state,
        total=2,
        counts=counts,
        trials=list(trials),
        best=best,
        created_at=NOW,
    )


@pytest.fixture
def sent(script: Any, answer: Callable[..., Any], run_scripted: Run) -> Callable[..., dict[str, Any]]:
    """The body that a `sweeps submit` sends."""
    script.handlers = [answer(201, a_sweep().model_dump_json())]

    def send(*arguments: str) -> dict[str, Any]:
        ended = run_scripted("sweeps", "submit", "rates", *FITTING, *arguments)
        assert (ended.code, ended.out) == (0, "5\n"), ended.err
        return json.loads(script.requests[-1][3])

    return send


def test_a_grid_is_written_as_lists_of_values(sent: Callable[..., dict[str, Any]]) -> None:
    body = sent(
        *("--grid", "recipe.learning_rate=0.001,2e-3", "--grid", 'train=[[{"dataset":"a","split":"b"}]]'),
        *("--grid", "recipe.architecture=picosam2,picosam3", "--set", "recipe.samples=50", "--parallel", "2", "--minimize"),
    )
    assert body["search"] == {
        "kind": "grid",
        "fields": {
            "recipe.learning_rate": [0.001, 0.002],
            "train": [[{"dataset": "a", "split": "b"}]],
            "recipe.architecture": ["picosam2", "picosam3"],
        },
    }
    assert body["base"]["kind"] == "training"
    assert body["base"]["spec"]["recipe"] == {"samples": 50}
    assert (body["parallel"], body["objective"]) == (2, {"figure": "miou_96", "direction": "minimize"})


def test_ranges_and_choices_are_for_optuna(sent: Callable[..., dict[str, Any]]) -> None:
    body = sent(
        *("--kind", "distillation", "--teacher", "a/1", "--range", "recipe.learning_rate=1e-4:1e-2:log"),
        *("--range", "recipe.batch_size=8:64:8", "--choice", "recipe.ema_decay=0,0.99", "--trials", "5"),
        *("--sampler", "random", "--seed", "3", "--figure", "miou_box", "--max-failed", "1"),
    )
    search = body["search"]
    assert (search["kind"], search["trials"], search["sampler"], search["seed"]) == ("optuna", 5, "random", 3)
    assert search["fields"]["recipe.learning_rate"] == {"low": 1e-4, "high": 1e-2, "log": True, "step": None}
    assert search["fields"]["recipe.batch_size"] == {"low": 8, "high": 64, "log": False, "step": 8}
    assert search["fields"]["recipe.ema_decay"] == {"choices": [0, 0.99]}
    assert body["base"]["spec"]["teacher"] == {"kind": "model", "model": "a/1"}
    assert (body["objective"]["figure"], body["max_failed"]) == ("miou_box", 1)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Either --grid"),
        (["--grid", "recipe.seed=1", "--choice", "recipe.seed=1"], "Either --grid"),
        (["--grid", "recipe.seed=1", "--trials", "3"], "--trials"),
        (["--range", "recipe.seed=1"], "LOW:HIGH"),
        (["--range", "recipe.seed=9:1"], "above high"),
        (["--range", "recipe.seed=a:b"], "low"),
        (["--range", "recipe.seed=1:2", "--choice", "recipe.seed=1"], "recipe.seed"),
        (["--grid", "Recipe=1"], "fields"),
    ],
)
def test_what_cannot_be_varied_is_refused_here(run_scripted: Run, script: Any, arguments: list[str], told: str) -> None:
    ended = run_scripted("sweeps", "submit", "rates", *FITTING, *arguments)
    assert ended.code == 2
    assert told in ended.err
    assert script.requests == []


def test_each_trial_is_told_once_and_the_best_one_marked(
    script: Any, answer: Callable[..., Any], run_scripted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    good = a_trial(0, figure=0.5, job_id="j0")
    bad = a_trial(1, TrialState.FAILED, error=JobError(type="t", message="NaN [/x]", hint="h"))
    script.handlers = [
        answer(200, a_sweep(a_trial(0, TrialState.RUNNING)).model_dump_json()),
        answer(200, a_sweep(good, a_trial(1, TrialState.RUNNING), best=good).model_dump_json()),
        answer(200, a_sweep(good, bad, best=good, state=PipelineState.SUCCEEDED).model_dump_json()),
    ]
    ended = run_scripted("sweeps", "watch", "5")
    assert ended.code == 0, ended.err
    assert ended.err.splitlines() == [
        "trial 1/2: succeeded  miou_96 0.5  recipe.learning_rate=0.001  best so far",
        "trial 2/2: failed  recipe.learning_rate=0.002  NaN [/x]",
    ]
    assert "1 succeeded, 1 failed of 2" in ended.out
    assert "NaN [/x]" in ended.out
    script.handlers = [answer(200, a_sweep(state=PipelineState.CANCELLED).model_dump_json())]
    assert run_scripted("sweeps", "watch", "5").code == 1
