"""What is refused of a pipeline before anything starts: names, references and order."""

import pytest

from services.jobs.pipelines.plan import Impossible, plan
from shared.contracts.pipelines import StepIn


def a_step(name="train", kind="training", spec=None, **more) -> StepIn:
    return StepIn.model_validate({"name": name, "kind": kind, "spec": spec or {}} | more)


def errors(*steps: StepIn, **parameters) -> list[tuple[str, str]]:
    with pytest.raises(Impossible) as caught:
        plan(steps, parameters)
    return [(error.field, error.message) for error in caught.value.errors]


def test_a_reference_makes_an_order():
    evaluate = a_step("evaluate", spec={"models": [{"model": "${steps.train.model}"}]}, after=["clean"])
    planned = plan([evaluate, a_step("train"), a_step("clean")], {})
    assert [each.name for each in planned] == ["train", "clean", "evaluate"]
    assert planned[-1].after == ("clean", "train")
    assert planned[-1].at == 0


def test_a_gate_that_compares_with_another_step_waits_for_it():
    gate = {"figure": "miou_96", "at_least": "${steps.train.result.miou_96}"}
    first, second = plan([a_step("distil", gates=[gate]), a_step("train")], {})
    assert (first.name, second.after) == ("train", ("train",))


def test_all_that_is_wrong_is_named_at_its_place():
    steps = [
        a_step("train", spec={"recipe": {"samples": "${parameters.sampels}"}, "tags": {"x": "${oops}"}}),
        a_step("train", after=["distil"], spec={"initial_model": "${steps.distil.model}"}),
    ]
    assert errors(*steps, samples=5) == [
        ("body.steps.1.name", "there are two steps 'train'"),
        ("body.steps.0.spec.tags.x", "${oops} is no reference"),
        ("body.steps.0.spec.recipe.samples", "there is no parameter 'sampels'"),
        ("body.steps.1.after.0", "there is no step 'distil'"),
        ("body.steps.1.spec.initial_model", "there is no step 'distil'"),
        ("body.parameters.samples", "no step uses a parameter 'samples'"),
    ]


def test_a_path_into_a_parameter_must_lead_somewhere():
    step = a_step(spec={"validation": "${parameters.on.1}"})
    assert errors(step, on=[{}]) == [("body.steps.0.spec.validation", "the parameter 'on' has nothing at '1'")]


def test_a_step_that_waits_for_itself_is_refused():
    assert errors(a_step(after=["train"])) == [("body.steps.0.after.0", "these steps wait for each other: train -> train")]


def test_a_circle_of_references_is_refused_where_it_begins():
    steps = [
        a_step("alone"),
        a_step("one", spec={"initial_model": "${steps.two.model}"}),
        a_step("two", after=["three"]),
        a_step("three", after=["one"]),
    ]
    assert errors(*steps) == [
        ("body.steps.1.spec.initial_model", "these steps wait for each other: one -> two -> three -> one"),
    ]


def test_too_many_references_are_refused():
    step = a_step(spec={"tags": {f"t{at}": "${parameters.x}" for at in range(201)}})
    assert errors(step, x=1) == [("body.steps.0.spec", "201 references are more than 200")]
