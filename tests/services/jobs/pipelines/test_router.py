"""What is refused of a pipeline before anything starts, and the routes."""

import pytest

from tests.services.jobs.pipelines.conftest import FITTING, a_step, train_distil_evaluate

BROKEN = {"type": "diverged", "message": "loss is nan", "hint": "lower the learning rate"}


@pytest.fixture(autouse=True)
def _dataset(dataset):
    """All need one."""


@pytest.mark.parametrize(
    ("step", "field", "told"),
    [
        (a_step(spec={"recipe": {"samples": -1}}), "spec.recipe.samples", "greater than or equal to 1"),
        (a_step(spec={"recipe": {"sampels": 5}}), "spec.recipe.sampels", "Extra inputs"),
        (a_step(spec={"recipe": {"samples": "${parameters.n}"}}), "spec.recipe.samples", "no parameter 'n'"),
        (a_step(spec={"initial_model": "${steps.other.model}"}), "spec.initial_model", "no step 'other'"),
        (a_step(spec={"initial_model": "${steps.train.model}"}), "spec.initial_model", "wait for each other"),
        (a_step(spec={"recipe": "${steps.train}"}), "spec.recipe", "is no reference"),
        (a_step(kind="quantum"), "kind", "Input should be"),
        (a_step(kind="dataset_import"), "kind", "cannot be a step"),
        (a_step(name="Train.1"), "name", "match pattern"),
        (a_step(after=["nobody"]), "after.0", "no step 'nobody'"),
        (a_step(gates=[{"figure": "miou_96"}]), "gates.0", "at_least or at_most"),
        (a_step(spec={"validation": {"dataset": "nothing", "split": "val"}}), "spec.validation.dataset", "no dataset"),
        (a_step(spec={"train": [{"dataset": "shapes", "split": "test"}]}), "spec.train.0.split", "no split 'test'"),
        (a_step(spec={"tags": {"not a tag": "x"}}), "spec.tags.not a tag.[key]", "match pattern"),
        (a_step(spec={"tags": 5}), "spec.tags", "valid dictionary"),
        (
            a_step(kind="distillation", spec={"teacher": {"kind": "sam2", "size": "huge"}}),
            "spec.teacher.size",
            "Input should be",
        ),
        (
            a_step(kind="distillation", spec={"teacher": {"kind": "sam2"}}),
            "spec.teacher.checkpoint",
            "does not have sam2.1-tiny",
        ),
    ],
)  # fmt: skip
def test_a_wrong_step_is_refused_with_its_place(refused, step, field, told):
    errors = refused(step)
    assert list(errors) == [f"body.steps.0.{field}"]
    assert told in errors[f"body.steps.0.{field}"]


def test_a_limit_that_is_neither_number_nor_reference_is_refused(refused):
    errors = refused(a_step(gates=[{"figure": "m", "at_least": "high"}]))
    assert errors
    assert all(field.startswith("body.steps.0.gates.0.at_least.") for field in errors)


def test_everything_that_is_wrong_is_told_at_once(refused):
    steps = [a_step("a", spec={"recipe": {"samples": 0}}), a_step("b", spec={"compute": {"device": "abacus"}})]
    assert set(refused(*steps)) == {"body.steps.0.spec.recipe.samples", "body.steps.1.spec.compute.device"}


def test_every_missing_dataset_is_told_at_once(refused):
    nowhere = {"validation": {"dataset": "nothing", "split": "val"}}
    errors = refused(a_step("a", spec=nowhere), a_step("b", spec=nowhere))
    assert set(errors) == {f"body.steps.{at}.spec.validation.dataset" for at in (0, 1)}


def test_a_model_of_a_step_that_registers_none_is_refused(refused):
    first, _, last = train_distil_evaluate()
    first["spec"] |= {"register_as": None}
    last["spec"] |= {"models": [{"model": "${steps.train.model}"}]}
    assert refused(first, last) == {"body.steps.1.spec.models.0.model": "the step 'train' registers no model"}


def test_a_model_of_an_evaluation_is_refused(refused):
    evaluate = a_step("evaluate", "evaluation", spec={"models": [{"model": "m/1"}], "dataset": FITTING["validation"]})
    follower = a_step("more", spec={"initial_model": "${steps.evaluate.model}"})
    assert refused(evaluate, follower) == {"body.steps.1.spec.initial_model": "the step 'evaluate' registers no model"}


def test_a_reference_in_a_place_that_takes_no_model_is_refused(refused):
    misplaced = a_step("more", spec={"recipe": {"samples": "${steps.train.model}"}})
    assert list(refused(a_step(), misplaced)) == ["body.steps.1.spec.recipe.samples"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("recipe", {"learning_rate": "${steps.train.result.lr}"}), ("recipe", {"samples": "${steps.train.result.n}"}),
     ("initial_model", "${steps.train.result.best}"), ("compute", {"channels_last": "${steps.train.result.yes}"})],
)  # fmt: skip
def test_a_figure_may_stand_wherever_some_figure_fits(pipelines, field, value):
    assert pipelines.post(steps=[a_step(), a_step("more", spec={field: value})]).status_code == 201


def test_a_parameter_that_no_step_uses_is_refused(refused):
    assert refused(a_step(), parameters={"sampels": 5}) == {"body.parameters.sampels": "no step uses a parameter 'sampels'"}


def test_a_registry_that_is_away_is_told_apart_from_a_missing_model(pipelines):
    answer = pipelines.post(steps=[a_step(spec={"initial_model": "picosam2/1"})])
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/registry-away")
    assert pipelines.jobs() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [({}, "body"), ({"template": "picosam2-imx500", "steps": [a_step()]}, "body"), ({"template": "nothing"}, "body.template"),
     ({"steps": []}, "body.steps"), ({"steps": [a_step(f"s{at}") for at in range(33)]}, "body.steps")],
)  # fmt: skip
def test_a_pipeline_is_either_a_template_or_some_steps(pipelines, body, field):
    answer = pipelines.post(**body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_templates_tell_their_parameters(client, viewer):
    (template,) = client.get("/v1/pipelines/templates", headers=viewer).json()
    assert template["name"] == "picosam2-imx500"
    assert set(template["json_schema"]["required"]) == {"train", "validation"}
    assert [(step["name"], step["kind"]) for step in template["steps"]] == [
        ("train", "training"),
        ("distil", "distillation"),
        ("evaluate", "evaluation"),
        ("quantize", "quantization"),
        ("quantize_cpu", "quantization"),
        ("package", "packaging"),
    ]


def test_a_template_fills_its_steps(pipelines):
    parameters = FITTING | {"train_recipe": {"samples": 160}, "min_miou": 0.2}
    pipeline = pipelines.post(template="picosam2-imx500", parameters=parameters).json()
    assert pipeline["name"] == "picosam2-imx500"
    assert pipeline["parameters"]["train_recipe"]["samples"] == 160
    assert pipeline["parameters"]["distil_recipe"]["batch_size"] == 16
    distil = pipeline["steps"][1]
    assert (distil["after"], distil["spec"]["teacher"]["model"]) == (["train"], "${steps.train.model}")
    assert distil["gates"] == [{"figure": "miou_96", "at_least": "${parameters.min_miou}", "at_most": None}]
    pipelines.tick()
    (train,) = pipelines.jobs()
    assert (train.spec["recipe"]["samples"], train.name) == (160, "picosam2-imx500/train")


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"train_recipe": {"samples": 0}}, "body.parameters.train_recipe.samples"),
        ({"trian_recipe": {}}, "body.parameters.trian_recipe"),
        ({"teacher": {"kind": "sam2", "size": "huge"}}, "body.parameters.teacher.sam2.size"),
        ({"teacher": {"kind": "sam2"}}, "body.parameters.teacher.checkpoint"),
        ({"train": [{"dataset": "shapes", "split": "test"}]}, "body.parameters.train.0.split"),
        ({"validation": FITTING["train"][0]}, "body.steps.0.spec"),
    ],
)
def test_a_wrong_parameter_of_a_template_is_named_as_such(refused, parameters, field):
    assert field in refused(template="picosam2-imx500", parameters=FITTING | parameters)


def test_pipelines_are_listed_newest_first_and_by_state(pipelines, client, viewer):
    ids = [pipelines.submit(a_step(), name=name) for name in ("one", "two")]
    pipelines.act(ids[0], "cancel")

    def listed(**params):
        page = client.get("/v1/pipelines", headers=viewer, params=params).json()
        return [pipeline["id"] for pipeline in page["items"]]

    assert listed() == ids[::-1]
    assert listed(state="cancelled") == ids[:1]
    assert listed(name="two") == ids[1:]
    assert listed(limit=1) == ids[1:]


def test_what_is_not_there_is_not_found(pipelines, client, viewer):
    for path in ("nothing", "00000000-0000-7000-8000-000000000000"):
        assert client.get(f"/v1/pipelines/{path}", headers=viewer).status_code == 404
        assert pipelines.act(path, "cancel").status_code == 404
        assert pipelines.act(path, "retry").status_code == 404


def test_viewers_look_and_operators_act(client, viewer):
    assert client.post("/v1/pipelines", json={"steps": [a_step()]}, headers=viewer).status_code == 403
    assert client.get("/v1/pipelines", headers=viewer).status_code == 200
    assert client.get("/v1/pipelines").status_code == 401


def test_the_same_request_makes_one_pipeline(pipelines, client, operator):
    body = {"steps": [a_step()]}
    first, again = (client.post("/v1/pipelines", json=body, headers=operator | {"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == again.json()
    pipelines.tick()
    assert len(pipelines.jobs()) == 1
