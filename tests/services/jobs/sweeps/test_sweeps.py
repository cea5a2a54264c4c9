"""Sweeps as they run: with a real MLflow and a real Optuna, and jobs worked off by a worker's messages."""

import pytest
from sqlalchemy import select

from services.jobs.pipelines.hooks import SWEEPS
from services.jobs.sweeps import advance
from services.jobs.sweeps.models import SweepTrial
from shared.kit.mlflow_api import EXPERIMENT, MlflowApi
from tests.services.jobs.pipelines.conftest import FITTING
from tests.services.jobs.sweeps.conftest import a_sweep

OPTUNA = {
    "kind": "optuna",
    "trials": 3,
    "fields": {
        "recipe.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "recipe.batch_size": {"choices": [8, 16, 32]},
    },
}


def grid(**fields) -> dict:
    return {"kind": "grid", "fields": {name.replace("__", "."): values for name, values in fields.items()}}


def test_a_grid_runs_every_combination_below_one_run(sweeps, services):
    sweep = sweeps.begin(tags={"purpose": "test"}, parallel=2)
    first, second = sweeps.running(sweep)
    assert first["values"] == {"recipe.learning_rate": 0.001, "recipe.seed": 1}
    assert second["values"] == {"recipe.learning_rate": 0.001, "recipe.seed": 2}

    run_id = sweeps.get(sweep)["mlflow_run_id"]
    claim = sweeps.finish(second["job_id"], result={"miou_96": 0.3})
    assert (claim["spec"]["recipe"]["seed"], claim["tags"], claim["name"]) == (2, {"purpose": "test"}, "rates/1")
    assert claim["parent_run_id"] == run_id
    assert sweeps.fleet.get(second["job_id"])["parent"] == {"kind": "sweep", "id": sweep, "part": "1"}

    sweeps.work(sweep, 0.2, 0.5, 0.4)
    shown = sweeps.get(sweep)
    assert (shown["state"], shown["counts"], shown["total"]) == ("succeeded", {"succeeded": 4}, 4)
    assert [trial["figure"] for trial in shown["trials"]] == [0.2, 0.3, 0.5, 0.4]
    assert shown["best"] == shown["trials"][2]
    assert shown["finished_at"] is not None

    run = services.mlflow.get_run(run_id)
    assert run["info"]["status"] == "FINISHED"
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["picofleet.best.trial"] == "2"
    assert tags["picofleet.best.recipe.learning_rate"] == "0.002"
    assert tags["tag.purpose"] == "test"
    curve = services.mlflow.metric_history(run_id, "miou_96")
    assert [point["value"] for point in sorted(curve, key=lambda point: point["step"])] == [0.3, 0.3, 0.5, 0.5]


def test_optuna_proposes_from_the_results_and_within_the_fields(sweeps):
    sweep = sweeps.begin(search=OPTUNA, objective={"figure": "loss", "direction": "minimize"})
    for loss in (0.5, 0.2, 0.3):
        (trial,) = sweeps.running(sweep)
        assert 1e-4 <= trial["values"]["recipe.learning_rate"] <= 1e-2
        claim = sweeps.finish(trial["job_id"], result={"loss": loss})
        assert claim["spec"]["recipe"]["batch_size"] == trial["values"]["recipe.batch_size"]
    shown = sweeps.get(sweep)
    assert (shown["state"], shown["best"]["number"]) == ("succeeded", 1)
    assert len({trial["values"]["recipe.learning_rate"] for trial in shown["trials"]}) == 3


def test_a_failed_trial_does_not_end_the_sweep(sweeps):
    sweep = sweeps.begin()
    sweeps.work(sweep, None, 0.2, None, 0.3)
    shown = sweeps.get(sweep)
    assert (shown["state"], shown["counts"]) == ("succeeded", {"failed": 2, "succeeded": 2})
    assert shown["trials"][0]["error"]["type"] == "diverged"
    assert shown["best"]["number"] == 3


def test_a_sweep_without_a_successful_trial_fails_and_says_why(sweeps, services):
    sweep = sweeps.begin(search=grid(recipe__seed=[1, 2]))
    sweeps.work(sweep, None, None)
    shown = sweeps.get(sweep)
    assert (shown["state"], shown["error"]["type"]) == ("failed", "no_trial_succeeded")
    assert "loss is nan" in shown["error"]["message"]
    assert services.mlflow.get_run(shown["mlflow_run_id"])["info"]["status"] == "FAILED"


def test_a_sweep_gives_up_after_too_many_failures(sweeps):
    sweep = sweeps.begin(max_failed=1)
    sweeps.work(sweep, None, 0.2, None)
    shown = sweeps.get(sweep)
    assert (shown["state"], shown["error"]["type"], len(shown["trials"])) == ("failed", "too_many_failed", 3)
    assert shown["best"]["figure"] == 0.2


def test_a_result_without_the_figure_fails_the_trial(sweeps):
    sweep = sweeps.begin(search=grid(recipe__seed=[1]), objective={"figure": "miou_box"})
    sweeps.work(sweep, 0.5)
    error = sweeps.get(sweep)["trials"][0]["error"]
    assert (error["type"], "miou_96" in error["hint"]) == ("figure_missing", True)


def test_values_that_do_not_go_together_fail_their_trial_alone(sweeps):
    base = {"kind": "training", "spec": FITTING | {"compute": {"processes": 1}}}
    both = grid(compute__processes=[1, 4], recipe__batch_size=[16, 4, 6])
    sweep = sweeps.begin(base=base, search=both, parallel=6)
    shown = sweeps.get(sweep)
    assert shown["counts"] == {"running": 5, "failed": 1}
    (failed,) = [trial for trial in shown["trials"] if trial["state"] == "failed"]
    assert failed["values"] == {"compute.processes": 4, "recipe.batch_size": 6}
    assert (failed["error"]["type"], failed["job_id"]) == ("cannot_be_submitted", None)


def test_cancelling_stops_the_trials_and_the_run(sweeps, services):
    sweep = sweeps.begin(parallel=2)
    _, running = sweeps.running(sweep)
    claim = sweeps.fleet.claim(running["job_id"])
    assert sweeps.cancel(sweep).json()["state"] == "cancelling"
    assert sweeps.get(sweep)["trials"][0]["state"] == "cancelled"
    sweeps.fleet.tell(running["job_id"], "finish", token=claim["token"], cancelled=True)
    sweeps.tick()
    shown = sweeps.get(sweep)
    assert (shown["state"], shown["counts"]) == ("cancelled", {"cancelled": 2})
    assert services.mlflow.get_run(shown["mlflow_run_id"])["info"]["status"] == "KILLED"
    assert sweeps.cancel(sweep).json()["state"] == "cancelled"


def test_a_sweep_that_is_over_cannot_be_cancelled(sweeps):
    sweep = sweeps.begin(search=grid(recipe__seed=[1]))
    sweeps.work(sweep, 0.5)
    assert sweeps.cancel(sweep).json()["type"] == "/problems/sweep-not-cancellable"


def test_while_mlflow_is_away_no_trial_starts_and_the_end_is_told_later(sweeps, services):
    there, away = services.mlflow, MlflowApi("http://127.0.0.1:9", timeout_s=1)
    object.__setattr__(services, "mlflow", away)
    sweep = sweeps.begin(search=grid(recipe__seed=[1]))
    shown = sweeps.get(sweep)
    assert (shown["trials"], shown["state"]) == ([], "running")
    assert "MLflow" in shown["waiting_for"]
    object.__setattr__(services, "mlflow", there)
    sweeps.tick()
    assert sweeps.get(sweep)["waiting_for"] is None

    object.__setattr__(services, "mlflow", away)
    sweeps.work(sweep, 0.5)
    shown = sweeps.get(sweep)
    assert shown["state"] == "succeeded"
    assert there.get_run(shown["mlflow_run_id"])["info"]["status"] == "RUNNING"
    object.__setattr__(services, "mlflow", there)
    sweeps.tick()
    assert there.get_run(shown["mlflow_run_id"])["info"]["status"] == "FINISHED"
    away.close()


def test_a_crash_after_the_run_was_made_makes_no_second_one(sweeps, services, monkeypatch):
    answer = sweeps.post().json()["id"]

    def crash(*_, **__):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("services.jobs.sweeps.parent_run._params", crash)
        with pytest.raises(SystemExit):
            sweeps.tick()
    sweeps.tick()
    experiment = services.mlflow.experiment_id(EXPERIMENT)
    assert len(services.mlflow.find_runs(experiment, {"picofleet.sweep_id": answer})) == 1
    assert len(sweeps.running(answer)) == 1


def test_replicas_that_advance_together_make_each_trial_once(sweeps, race, services):
    sweep = sweeps.begin(parallel=1)
    sweeps.finish(sweeps.running(sweep)[0]["job_id"], tick=False, result={"miou_96": 0.1})
    race([lambda: advance.tick(services)] * 4)
    with services.sessions() as session:
        numbers = [trial.number for trial in session.scalars(select(SweepTrial))]
    assert sorted(numbers) == [0, 1]
    assert len(sweeps.jobs()) == 2


def test_a_trials_end_wakes_the_loop(sweeps, services, monkeypatch):
    sweep = sweeps.begin()
    woken: list[str] = []
    monkeypatch.setattr(services.messenger, "_wake", woken.append)
    sweeps.work(sweep, 0.1)
    assert SWEEPS in woken


# What is refused before anything starts


@pytest.mark.parametrize(
    ("overrides", "field", "told"),
    [
        ({"search": grid(recipe__learning_rat=[1e-3])}, "body.search.fields.recipe.learning_rat", "Extra inputs"),
        ({"search": grid(recipe__samples=[10, -5])}, "body.search.fields.recipe.samples", "with the value -5"),
        ({"search": grid(train__1__split=["a"])}, "body.search.fields", "list of 1"),
        ({"search": grid(recipe__seed=[1, 1])}, "body.search.fields.recipe.seed", "twice"),
        ({"search": grid(recipe=[{}], recipe__seed=[1])}, "body.search.fields.recipe.seed", "lies inside"),
        (
            {"search": grid(recipe__seed=list(range(40)), recipe__samples=list(range(1, 41)))},
            "body.search.fields",
            "1600 combinations",
        ),
        ({"search": grid(validation__dataset=["shapes", "gone"])}, "body.search.fields.validation.dataset", "no dataset"),
        ({"base": {"kind": "training", "spec": {}}}, "body.base.spec.train", "Field required"),
        ({"base": {"kind": "dataset_import", "spec": {}}}, "body.base.kind", "cannot be a trial"),
        (
            {"search": {"kind": "optuna", "fields": {"recipe.samples": {"low": 0, "high": 10}}}},
            "body.search.fields.recipe.samples",
            "with the value 0",
        ),
        (
            {"search": {"kind": "optuna", "fields": {"recipe.seed": {"low": 5, "high": 1}}}},
            "body.search.optuna.fields.recipe.seed.range",
            "low 5 is above high 1",
        ),
    ],
)
def test_a_wrong_sweep_is_refused_with_its_place(sweeps, overrides, field, told):
    answer = sweeps.post(**overrides)
    assert answer.status_code == 422, answer.text
    messages = {error["field"]: error["message"] for error in answer.json()["errors"]}
    assert told in messages[field]
    assert sweeps.jobs() == []


def test_an_unknown_model_in_the_search_is_refused(sweeps):
    answer = sweeps.post(search=grid(initial_model=[None, "nothing/1"]))
    assert answer.status_code == 422
    assert "no model version 'nothing/1'" in answer.json()["detail"]


def test_sweeps_are_listed_without_their_trials(sweeps, client, viewer):
    first, second = sweeps.begin(), sweeps.begin(name="other")
    sweeps.work(first, 0.1, 0.2, 0.3, 0.4)
    page = client.get("/v1/sweeps", headers=viewer).json()["items"]
    assert [(each["id"], each["trials"]) for each in page] == [(second, []), (first, [])]
    assert page[1]["best"]["figure"] == 0.4
    assert [each["id"] for each in client.get("/v1/sweeps?state=succeeded", headers=viewer).json()["items"]] == [first]


def test_viewers_look_and_operators_act(sweeps, client, viewer):
    assert client.post("/v1/sweeps", json=a_sweep(), headers=viewer).status_code == 403
    for path in ("nothing", "00000000-0000-7000-8000-000000000000"):
        assert client.get(f"/v1/sweeps/{path}", headers=viewer).status_code == 404
        assert sweeps.cancel(path).status_code == 404
