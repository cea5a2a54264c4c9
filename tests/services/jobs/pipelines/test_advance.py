"""Pipelines as they run: with a real registry, and jobs worked off by a worker's messages."""

import uuid

import pytest
from sqlalchemy import select

from services.jobs.jobs import sweeper
from services.jobs.pipelines import advance
from services.jobs.pipelines.hooks import PIPELINES
from services.jobs.pipelines.models import PipelineRun
from shared.kit.mlflow_api import MlflowApi
from tests.services.jobs.pipelines.conftest import FITTING, a_step, train_distil_evaluate

BROKEN = {"type": "diverged", "message": "loss is nan", "hint": "lower the learning rate"}


@pytest.fixture
def settings(settings, mlflow_server):
    return settings.model_copy(update={"mlflow_url": mlflow_server})


@pytest.fixture(autouse=True)
def _dataset(dataset):
    """All need one."""


@pytest.fixture
def name() -> str:
    """A model name of the test's own: the registry is shared."""
    return f"m-{uuid.uuid4().hex[:12]}"


def test_models_and_figures_lead_from_step_to_step(pipelines, name):
    steps = train_distil_evaluate()
    steps[1]["spec"]["recipe"] = {"samples": "${parameters.samples}", "learning_rate": "${steps.train.result.rate}"}
    steps[1]["gates"] = [{"figure": "miou_96", "at_least": "${steps.train.result.miou_96}"}]
    pipeline = pipelines.submit(*steps, parameters={"samples": 320}, tags={"purpose": "test"}, name="three")
    assert pipelines.states(pipeline) == {"": "running", "train": "running", "distil": "waiting", "evaluate": "waiting"}

    train = pipelines.done(pipeline, "train", model=name, result={"miou_96": 0.25, "rate": 0.01})
    shown = pipelines.step(pipeline, "train")
    assert (shown["state"], shown["model"], shown["result"]["miou_96"]) == ("succeeded", f"{name}/1", 0.25)

    claim = pipelines.finish(pipelines.step(pipeline, "distil")["job_id"], model=name, result={"miou_96": 0.25})
    assert claim["spec"]["recipe"]["samples"] == 320
    assert claim["spec"]["recipe"]["learning_rate"] == 0.01
    assert (claim["models"]["teacher"]["name"], claim["models"]["teacher"]["version"]) == (name, 1)
    assert (claim["name"], claim["tags"]) == ("three/distil", {"purpose": "test"})

    claim = pipelines.finish(pipelines.step(pipeline, "evaluate")["job_id"], result={})
    assert [claim["models"][f"models.{at}"]["version"] for at in (0, 1)] == [2, 1]
    assert pipelines.get(pipeline)["state"] == "succeeded"
    assert pipelines.fleet.get(train)["parent"] == {"kind": "pipeline", "id": pipeline, "part": "train"}


def test_a_step_ends_only_when_its_model_has_a_number(pipelines, name, monkeypatch):
    pipeline = pipelines.submit(*train_distil_evaluate())
    job = pipelines.step(pipeline, "train")["job_id"]
    pipelines.finish(job, model=name, tick=False)
    pipelines.tick()
    step = pipelines.step(pipeline, "train")
    assert (step["state"], step["job_state"]) == ("running", "succeeded")
    assert "registry" in step["waiting_for"]


def test_a_model_that_the_registry_refuses_fails_the_step(pipelines, name, services):
    pipeline = pipelines.submit(*train_distil_evaluate())
    job = pipelines.step(pipeline, "train")["job_id"]
    empty = services.mlflow.create_run(services.mlflow.experiment_id("models"), name=None, tags={}, started_ms=1)["info"]
    model = {"output": "model", "registered_model": name, "run_id": empty["run_id"]}
    pipelines.finish(job, register_models=[model])
    assert pipelines.step(pipeline, "train")["error"]["type"] == "registration_failed"
    assert pipelines.states(pipeline) == {"": "failed", "train": "failed", "distil": "skipped", "evaluate": "skipped"}


@pytest.mark.parametrize(
    ("gate", "result", "told"),
    [
        ({"figure": "miou_96", "at_least": 0.4}, {"miou_96": 0.31}, "miou_96 is 0.31, it has to be at least 0.4"),
        ({"figure": "size", "at_most": 8}, {"size": 9}, "size is 9, it has to be at most 8"),
        ({"figure": "miou_96", "at_least": 0}, {"loss": 1.0}, "no figure 'miou_96' (it has loss)"),
        ({"figure": "models.0.miou_96", "at_least": 0}, {"models": [{"miou_96": "high"}]}, "no figure"),
        ({"figure": "miou_96", "at_least": "${parameters.limit}"}, {"miou_96": 0.7}, "which is no number"),
    ],
)
def test_a_gate_that_stays_shut_fails_the_step_with_the_figures(pipelines, gate, result, told):
    parameters = {"limit": "0.5"} if "parameters" in str(gate) else {}
    pipeline = pipelines.submit(a_step(gates=[gate]), a_step("more", after=["train"]), parameters=parameters)
    pipelines.done(pipeline, "train", result=result)
    shown = pipelines.get(pipeline)
    assert (shown["state"], shown["steps"][0]["error"]["type"]) == ("failed", "gate_shut")
    assert told in shown["error"]["message"]
    assert shown["steps"][1]["state"] == "skipped"


def test_a_gate_opens_at_its_limit(pipelines):
    pipeline = pipelines.submit(a_step(gates=[{"figure": "miou_96", "at_least": 0.4, "at_most": 0.4}]))
    pipelines.done(pipeline, "train", result={"miou_96": 0.4})
    assert pipelines.get(pipeline)["state"] == "succeeded"


def test_a_failed_job_fails_its_step_and_others_go_on(pipelines):
    pipeline = pipelines.submit(a_step("a"), a_step("b", after=["a"]), a_step("other"))
    pipelines.done(pipeline, "a", error=BROKEN)
    assert pipelines.states(pipeline) == {"": "running", "a": "failed", "b": "skipped", "other": "running"}
    pipelines.done(pipeline, "other")
    shown = pipelines.get(pipeline)
    assert (shown["state"], shown["error"]["message"]) == ("failed", "a: loss is nan")
    assert shown["finished_at"] is not None


def test_a_job_that_a_person_cancels_ends_its_step(pipelines):
    pipeline = pipelines.submit(a_step("a"), a_step("b", after=["a"]))
    pipelines.fleet.act(pipelines.step(pipeline, "a")["job_id"], "cancel")
    pipelines.tick()
    assert pipelines.states(pipeline) == {"": "failed", "a": "cancelled", "b": "skipped"}


def test_cancelling_stops_what_runs_and_starts_nothing_more(pipelines):
    pipeline = pipelines.submit(a_step("queued"), a_step("running"), a_step("later", after=["queued"]))
    job = pipelines.step(pipeline, "running")["job_id"]
    claim = pipelines.fleet.claim(job)
    assert pipelines.act(pipeline, "cancel").json()["state"] == "cancelling"
    assert pipelines.states(pipeline) == {
        "": "cancelling",
        "queued": "cancelled",
        "running": "running",
        "later": "cancelled",
    }
    assert pipelines.fleet.get(job)["state"] == "cancelling"
    pipelines.fleet.tell(job, "finish", token=claim["token"], cancelled=True)
    pipelines.tick()
    assert set(pipelines.states(pipeline).values()) == {"cancelled"}
    assert pipelines.act(pipeline, "cancel").json()["state"] == "cancelled"


def test_a_pipeline_that_is_over_cannot_be_cancelled(pipelines):
    pipeline = pipelines.submit(a_step())
    pipelines.done(pipeline, "train")
    assert pipelines.act(pipeline, "cancel").json()["type"] == "/problems/pipeline-not-cancellable"


# Retries


def test_a_retry_goes_on_from_the_failed_jobs_checkpoint(pipelines, name):
    pipeline = pipelines.submit(*train_distil_evaluate())
    train = pipelines.done(pipeline, "train", model=name)
    distil = pipelines.done(pipeline, "distil", error=BROKEN)
    assert pipelines.act(pipeline, "retry").json()["state"] == "running"
    pipelines.tick()
    step = pipelines.step(pipeline, "distil")
    assert (step["job_id"], step["job_ids"], step["job_state"]) == (distil, [distil], "queued")
    assert pipelines.step(pipeline, "train")["job_ids"] == [train]
    pipelines.done(pipeline, "distil", model=name)
    pipelines.done(pipeline, "evaluate")
    assert pipelines.get(pipeline)["state"] == "succeeded"


def test_a_retry_from_scratch_makes_a_new_job(pipelines):
    pipeline = pipelines.submit(a_step())
    first = pipelines.done(pipeline, "train", error=BROKEN)
    pipelines.act(pipeline, "retry", from_checkpoint=False)
    pipelines.tick()
    first_again, second = pipelines.step(pipeline, "train")["job_ids"]
    assert (first_again, pipelines.fleet.get(first)["state"]) == (first, "failed")
    assert pipelines.fleet.get(second)["state"] == "queued"


def test_a_retry_from_a_named_step_runs_it_and_all_that_builds_on_it(pipelines, name):
    pipeline = pipelines.submit(*train_distil_evaluate())
    pipelines.done(pipeline, "train", model=name)
    pipelines.done(pipeline, "distil", model=name)
    old = pipelines.done(pipeline, "evaluate")
    assert pipelines.act(pipeline, "retry", from_step="distil").status_code == 200
    pipelines.tick()
    assert pipelines.states(pipeline) == {"": "running", "train": "succeeded", "distil": "running", "evaluate": "waiting"}
    pipelines.done(pipeline, "distil", model=name)
    step = pipelines.step(pipeline, "evaluate")
    assert step["job_ids"] == [old, step["job_id"]]
    claim = pipelines.finish(step["job_id"])
    assert claim["models"]["models.0"]["version"] == 3


def test_a_failed_job_that_would_be_told_something_else_is_not_taken_up(pipelines, name):
    steps = train_distil_evaluate()[:2]
    pipeline = pipelines.submit(*steps)
    pipelines.done(pipeline, "train", model=name)
    failed = pipelines.done(pipeline, "distil", error=BROKEN)
    pipelines.act(pipeline, "retry", from_step="train")
    pipelines.tick()
    pipelines.done(pipeline, "train", model=name)
    step = pipelines.step(pipeline, "distil")
    assert step["job_ids"] == [failed, step["job_id"]]
    assert pipelines.finish(step["job_id"])["models"]["teacher"]["version"] == 2


def test_a_job_that_somebody_retried_by_hand_is_taken_as_it_is(pipelines):
    pipeline = pipelines.submit(a_step(), a_step("more", after=["train"]))
    job = pipelines.done(pipeline, "train", error=BROKEN)
    pipelines.fleet.act(job, "retry")
    pipelines.finish(job)
    assert pipelines.get(pipeline)["state"] == "failed"
    pipelines.act(pipeline, "retry")
    pipelines.tick()
    pipelines.tick()
    assert pipelines.states(pipeline) == {"": "running", "train": "succeeded", "more": "running"}
    assert pipelines.step(pipeline, "train")["job_ids"] == [job]


def test_behind_a_shut_gate_a_retry_makes_a_new_job(pipelines):
    pipeline = pipelines.submit(a_step(gates=[{"figure": "miou_96", "at_least": 0.4}]))
    first = pipelines.done(pipeline, "train", result={"miou_96": 0.3})
    pipelines.act(pipeline, "retry")
    pipelines.tick()
    assert pipelines.step(pipeline, "train")["job_ids"][0] == first
    pipelines.done(pipeline, "train", result={"miou_96": 0.5})
    assert pipelines.get(pipeline)["state"] == "succeeded"


def test_a_cancelled_pipeline_can_be_taken_up(pipelines):
    pipeline = pipelines.submit(a_step("a"), a_step("b", after=["a"]))
    pipelines.done(pipeline, "a")
    pipelines.act(pipeline, "cancel")
    assert pipelines.states(pipeline) == {"": "cancelled", "a": "succeeded", "b": "cancelled"}
    pipelines.act(pipeline, "retry")
    pipelines.tick()
    pipelines.done(pipeline, "b")
    assert pipelines.get(pipeline)["state"] == "succeeded"


@pytest.mark.parametrize("done", [False, True])
def test_there_must_be_something_to_retry(pipelines, done):
    pipeline = pipelines.submit(a_step())
    if done:
        pipelines.done(pipeline, "train")
    assert pipelines.act(pipeline, "retry").json()["type"] == "/problems/pipeline-not-retryable"


def test_a_retry_from_an_unknown_step_is_refused(pipelines):
    pipeline = pipelines.submit(a_step())
    pipelines.done(pipeline, "train", error=BROKEN)
    answer = pipelines.act(pipeline, "retry", from_step="nobody")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.from_step")


# What can go wrong between the steps


def test_a_figure_that_the_job_did_not_make_fails_the_next_step(pipelines):
    follower = a_step("more", spec={"recipe": {"learning_rate": "${steps.train.result.rate}"}})
    pipeline = pipelines.submit(a_step(), follower)
    pipelines.done(pipeline, "train", result={"miou_96": 0.3})
    error = pipelines.step(pipeline, "more")["error"]
    assert error["message"] == "${steps.train.result.rate} has no value: the step did not make it."
    assert pipelines.get(pipeline)["state"] == "failed"


def test_a_figure_that_does_not_fit_fails_the_next_step_with_its_place(pipelines):
    follower = a_step("more", spec={"recipe": {"learning_rate": "${steps.train.result.rate}"}})
    pipeline = pipelines.submit(a_step(), follower)
    pipelines.done(pipeline, "train", result={"rate": 7.0})
    assert "spec.recipe.learning_rate" in pipelines.step(pipeline, "more")["error"]["message"]


def test_a_dataset_that_was_deleted_meanwhile_fails_the_next_step(pipelines, client, admin):
    pipeline = pipelines.submit(a_step("a"), a_step("b", after=["a"]))
    pipelines.done(pipeline, "a")
    pipelines.fleet.act(pipelines.step(pipeline, "b")["job_id"], "cancel")
    pipelines.tick()
    assert client.delete("/v1/datasets/shapes", headers=admin).status_code < 300
    pipelines.act(pipeline, "retry")
    pipelines.tick()
    step = pipelines.step(pipeline, "b")
    assert (step["state"], step["error"]["type"]) == ("failed", "cannot_be_submitted")
    assert "no dataset 'shapes'" in step["error"]["message"]


def test_a_step_waits_for_a_registry_that_is_away_and_says_so(pipelines, services, name):
    pipeline = pipelines.submit(*train_distil_evaluate())
    job = pipelines.step(pipeline, "train")["job_id"]
    pipelines.finish(job, model=name, tick=False)
    from services.jobs.models import registration

    registration.tick(services)
    there, away = services.mlflow, MlflowApi("http://127.0.0.1:9", timeout_s=1)
    object.__setattr__(services, "mlflow", away)
    pipelines.tick()
    step = pipelines.step(pipeline, "distil")
    assert step["state"] == "waiting"
    assert "registry is away" in step["waiting_for"]
    object.__setattr__(services, "mlflow", there)
    pipelines.tick()
    assert pipelines.step(pipeline, "distil")["state"] == "running"


def test_a_crash_while_a_step_is_started_loses_nothing(pipelines, monkeypatch):
    pipeline = pipelines.submit(a_step("a"), a_step("b", after=["a"]))
    job = pipelines.step(pipeline, "a")["job_id"]
    pipelines.finish(job, tick=False)

    def crash(*_, **__):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("services.jobs.pipelines.advance.PipelineRun", crash)
        with pytest.raises(SystemExit):
            pipelines.tick()
    assert (pipelines.step(pipeline, "a")["state"], pipelines.step(pipeline, "b")["state"]) == ("succeeded", "waiting")
    assert len(pipelines.jobs()) == 1
    pipelines.tick()
    assert len(pipelines.jobs()) == 2


def test_replicas_that_advance_together_make_each_job_once(pipelines, race, services):
    pipeline = pipelines.submit(*[a_step(f"s{at}") for at in range(3)], a_step("last", after=["s0", "s1", "s2"]))
    for at in range(3):
        pipelines.finish(pipelines.step(pipeline, f"s{at}")["job_id"], tick=False)
    race([lambda: advance.tick(services)] * 4)
    with services.sessions() as session:
        runs = session.scalars(select(PipelineRun)).all()
    assert sorted((run.step, run.run) for run in runs) == [("last", 1), ("s0", 1), ("s1", 1), ("s2", 1)]
    assert len(pipelines.jobs()) == 4


def test_one_pipelines_defect_does_not_stop_the_others(pipelines, monkeypatch):
    answer = [pipelines.post(steps=[a_step()]).json()["id"] for _ in range(2)]
    real = advance.advance

    def broken(services, pipeline_id):
        if pipeline_id == answer[0]:
            raise RuntimeError("a defect")
        real(services, pipeline_id)

    monkeypatch.setattr(advance, "advance", broken)
    pipelines.tick()
    assert [pipelines.states(each)["train"] for each in answer] == ["waiting", "running"]


def test_a_jobs_end_wakes_the_loop_and_a_lost_worker_too(pipelines, services, monkeypatch):
    pipeline = pipelines.submit(a_step())
    job = pipelines.step(pipeline, "train")["job_id"]
    woken: list[str] = []
    monkeypatch.setattr(services.messenger, "_wake", woken.append)
    claim = pipelines.fleet.claim(job)
    pipelines.fleet.tell(job, "finish", token=claim["token"], error=BROKEN)
    assert PIPELINES in woken
    sweeper.expire_leases(services.sessions)


def test_a_progress_bar_can_be_drawn_from_the_pipeline_alone(pipelines):
    pipeline = pipelines.submit(a_step())
    job = pipelines.step(pipeline, "train")["job_id"]
    claim = pipelines.fleet.claim(job)
    progress = {"phase": "train", "done": 3, "total": 10, "unit": "step", "rate": 50.0, "metrics": {"loss": 1.0}}
    pipelines.fleet.tell(job, "progress", token=claim["token"], report_no=1, progress=progress)
    assert pipelines.step(pipeline, "train")["progress"]["done"] == 3


def test_the_template_runs_to_its_end(pipelines, name):
    answer = pipelines.post(template="picosam2-imx500", parameters=FITTING | {"min_miou": 0.2, "package": False})
    pipeline = answer.json()["id"]
    pipelines.tick()
    pipelines.done(pipeline, "train", model=name)
    pipelines.done(pipeline, "distil", model=name, result={"miou_96": 0.2})
    pipelines.done(pipeline, "evaluate")
    pipelines.done(pipeline, "quantize")
    pipelines.done(pipeline, "quantize_cpu")
    assert set(pipelines.states(pipeline).values()) == {"succeeded"}


def test_the_template_ends_with_the_evaluation_where_nothing_is_quantized(pipelines):
    answer = pipelines.post(template="picosam2-imx500", parameters=FITTING | {"quantize": False})
    assert [step["name"] for step in answer.json()["steps"]] == ["train", "distil", "evaluate"]
