"""Pipelines as the command line shows them, and what it sends."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from shared.client.cli.pipeline_view import LiveSteps, PlainSteps, require_success, summary
from shared.client.errors import JobFailed
from shared.contracts.jobs import JobError, JobKind, Progress
from shared.contracts.pipelines import PipelineOut, PipelineState, StepOut, StepState, TemplateOut

Run = Callable[..., Any]
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def a_step(name: str, state: StepState = StepState.WAITING, **more: Any) -> StepOut:
    return StepOut(**({"name": name, "kind": JobKind.TRAINING, "spec": {}, "after": [], "state": state} | more))


def a_pipeline(*steps: StepOut, state: PipelineState = PipelineState.RUNNING, **more: Any) -> PipelineOut:
    fixed = {"id": "7", "name": "n", "owner": "o", "tags": {}, "parameters": {}, "created_at": BEGUN}
    return PipelineOut(**(fixed | {"state": state, "steps": list(steps)} | more))


def at_step(done: int) -> Progress:
    return Progress(phase="train", done=done, total=100, metrics={"miou_96": 0.25})


@pytest.fixture
def plain() -> tuple[PlainSteps, io.StringIO]:
    written = io.StringIO()
    return PlainSteps(Console(file=written, width=400)), written


def test_lines_tell_what_each_step_does(plain: tuple[PlainSteps, io.StringIO]) -> None:
    view, written = plain
    view.update(a_pipeline(a_step("train"), a_step("distil")))
    assert written.getvalue() == "", "nothing has happened"
    for done in (1, 2, 3, 100):
        view.update(a_pipeline(a_step("train", StepState.RUNNING, job_id="1", progress=at_step(done)), a_step("distil")))
    done = a_step("train", StepState.SUCCEEDED, job_id="1", model="p/1", result={"steps": 9, "miou_96": 0.4321})
    view.update(a_pipeline(done, a_step("distil", StepState.RUNNING, job_id="2")))
    lines = [line.partition("] ")[2] for line in written.getvalue().splitlines()]
    assert lines == [
        "train: running  job 1",
        "train: train 1/100 steps  miou_96 0.250",
        "train: train 100/100 steps  miou_96 0.250",
        "train: succeeded  miou_96 0.4321  steps 9  model p/1",
        "distil: running  job 2",
    ]


def test_a_step_that_is_run_again_is_told_again(plain: tuple[PlainSteps, io.StringIO]) -> None:
    view, written = plain
    error = JobError(type="gate", message="miou_96 is 0.1 [x]", hint="h")
    view.update(a_pipeline(a_step("train", StepState.FAILED, job_id="1", error=error)))
    view.update(a_pipeline(a_step("train", StepState.RUNNING, job_id="2")))
    view.update(a_pipeline(a_step("train", StepState.RUNNING, job_id="2")))
    assert [line.partition("] ")[2] for line in written.getvalue().splitlines()] == [
        "train: failed  miou_96 is 0.1 [x]",
        "train: running  job 2",
    ]


def test_why_a_started_step_waits_is_told_once(plain: tuple[PlainSteps, io.StringIO]) -> None:
    view, written = plain
    for reason in (None, "no worker takes such jobs", "no worker takes such jobs", None):
        view.update(a_pipeline(a_step("train", StepState.RUNNING, job_id="1", waiting_for=reason)))
    assert written.getvalue().count("train: waits: no worker takes such jobs") == 1


def test_bars_are_drawn_one_per_step() -> None:
    written = io.StringIO()
    with Bars(console=Console(file=written, width=160, force_terminal=True)) as bars:
        view = LiveSteps(bars)
        view.update(a_pipeline(a_step("train", StepState.RUNNING, progress=at_step(40)), a_step("distil", waiting_for="[/x]")))
        assert [(task.description, task.completed, task.total) for task in bars.tasks] == [
            ("train", 40, 100),
            ("distil", 0, None),
        ]
        view.update(a_pipeline(a_step("train", StepState.SUCCEEDED), a_step("distil", StepState.SKIPPED)))
        assert [task.completed for task in bars.tasks] == [1, 0]


def test_a_failure_names_the_step_the_reason_and_the_way_on() -> None:
    error = JobError(type="diverged", message="NaN at step 3.", hint="Lower the learning rate.")
    steps = (
        a_step("train", StepState.SUCCEEDED),
        a_step("distil", StepState.FAILED, error=error),
        a_step("evaluate", StepState.SKIPPED),
    )
    placed = error.model_copy(update={"message": "distil: NaN at step 3."})  # as the service tells it
    failed = a_pipeline(*steps, state=PipelineState.FAILED, error=placed)
    with pytest.raises(JobFailed, match=r"\(diverged\): distil: NaN at step 3") as caught:
        require_success(failed)
    assert caught.value.hint == "Lower the learning rate. `picofleet pipelines retry 7` runs again what has not succeeded."
    assert summary(failed) == "train done, distil failed, evaluate skipped"
    with pytest.raises(JobFailed, match="cancelled"):
        require_success(a_pipeline(state=PipelineState.CANCELLED))


def test_a_pipeline_is_watched_over_an_outage_to_its_end(
    script: Any, answer: Callable[..., Any], run_scripted: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.client.transport.FIRST_PAUSE_S", 0)
    monkeypatch.setattr("time.sleep", lambda _: None)
    running = a_pipeline(a_step("train", StepState.RUNNING, job_id="1"))
    done = a_step("train", StepState.SUCCEEDED, job_id="1", model="p/1")
    ended = a_pipeline(done, state=PipelineState.SUCCEEDED, finished_at=BEGUN + timedelta(seconds=61))
    script.handlers = [
        answer(200, running.model_dump_json()),
        answer(500, "{}"),
        answer(200, running.model_dump_json()),
        answer(200, ended.model_dump_json()),
    ]
    shown = run_scripted("pipelines", "watch", "7")
    assert shown.code == 0, shown.err
    assert shown.err.count("train: running") == 1
    assert "1:01" in shown.out
    assert "p/1" in shown.out
    script.handlers = [answer(200, a_pipeline(state=PipelineState.FAILED).model_dump_json())]
    assert run_scripted("pipelines", "watch", "7").code == 1
    script.handlers = [answer(404, "{}")]
    assert run_scripted("pipelines", "watch", "7").code == 4, "a pipeline that is not there will not come"


def test_parameters_go_where_the_template_wants_them(script: Any, answer: Callable[..., Any], run_scripted: Run) -> None:
    script.handlers = [answer(201, a_pipeline().model_dump_json())]
    ended = run_scripted(
        *("pipelines", "submit", "--template", "picosam2-imx500", "--train", "a/train", "--validation", "a/val"),
        *("--teacher", "sam2.1-tiny", "-p", "train_recipe.samples=50", "-p", "distillation.view=context", "--tag", "x=y"),
    )
    assert (ended.code, ended.out) == (0, "7\n")
    _, path, _, body = script.requests[-1]
    assert path == "/v1/pipelines"
    assert json.loads(body) == {
        "name": None,
        "tags": {"x": "y"},
        "template": "picosam2-imx500",
        "steps": None,
        "parameters": {
            "train": [{"dataset": "a", "split": "train"}],
            "validation": {"dataset": "a", "split": "val"},
            "teacher": {"kind": "sam2", "size": "tiny"},
            "train_recipe": {"samples": 50},
            "distillation": {"view": "context"},
        },
    }


def test_a_retry_says_from_where(script: Any, answer: Callable[..., Any], run_scripted: Run) -> None:
    script.handlers = [answer(200, a_pipeline(a_step("train")).model_dump_json())]
    assert run_scripted("pipelines", "retry", "7", "--from", "distil", "--anew").code == 0
    _, path, _, body = script.requests[-1]
    assert (path, json.loads(body)) == ("/v1/pipelines/7/retry", {"from_step": "distil", "from_checkpoint": False})
    assert run_scripted("pipelines", "cancel", "7").code == 0
    assert script.requests[-1][1] == "/v1/pipelines/7/cancel"


def test_nothing_to_run_is_refused_here(run_scripted: Run, script: Any) -> None:
    ended = run_scripted("pipelines", "submit", "--train", "a/train")
    assert ended.code == 2
    assert "templates" in ended.err
    assert script.requests == []


def test_templates_tell_which_parameters_they_need(script: Any, answer: Callable[..., Any], run_scripted: Run) -> None:
    schema = {"properties": {"train": {}, "pictures": {}}, "required": ["train"]}
    template = TemplateOut(name="t", description="d", json_schema=schema, steps=[])
    script.handlers = [answer(200, json.dumps([template.model_dump(mode="json")]))]
    assert "train (needed), pictures" in run_scripted("pipelines", "templates").out
