"""Distillation, evaluation, pipelines and sweeps of the command line against the real jobs service. There is no worker here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.contracts.jobs import JobKind

Run = Callable[..., Any]
FITTING = ("--train", "shapes/train", "--validation", "shapes/val")
PIPELINE = {
    "name": "two",
    "parameters": {"samples": 10},
    "steps": [
        {
            "name": "train",
            "kind": "training",
            "spec": {
                "train": [{"dataset": "shapes", "split": "train"}],
                "validation": {"dataset": "shapes", "split": "val"},
                "recipe": {"samples": "${parameters.samples}"},
            },
        },
        {
            "name": "again",
            "kind": "training",
            "after": ["train"],
            "spec": {
                "train": [{"dataset": "shapes", "split": "train"}],
                "validation": {"dataset": "shapes", "split": "val"},
                "initial_model": "${steps.train.model}",
            },
        },
    ],
}


@pytest.fixture
def shapes(run: Run) -> None:
    """A dataset whose import is queued: jobs may already name it."""
    assert run("datasets", "register", "shapes", "--generator", "--images", "20", "--no-wait").code == 0


def test_a_teacher_that_is_not_here_is_refused_with_the_command_that_fetches_it(run: Run, shapes: None) -> None:
    ended = run("jobs", "submit", "distillation", "--teacher", "sam2.1-tiny", *FITTING)
    assert ended.code == 4
    assert "picofleet teachers fetch sam2.1-tiny" in ended.err
    assert "https://dl.fbaipublicfiles.com/" in ended.err


def test_a_teacher_for_tests_of_the_machinery_is_taken(run: Run, shapes: None) -> None:
    arguments = ("--teacher", "sam2.1-tiny", *FITTING, "--set", "teacher.allow_random_weights=true", "--view", "image")
    ended = run("jobs", "submit", "distillation", *arguments)
    assert ended.code == 0, ended.err
    job = json.loads(run("jobs", "show", ended.out.strip(), "--json").out)
    assert (job["kind"], job["state"], job["spec"]["distillation"]["view"]) == ("distillation", "queued", "image")
    assert [found["id"] for found in json.loads(run("jobs", "list", "--kind", "distillation", "--json").out)] == [job["id"]]


def test_teachers_are_listed_as_the_service_knows_them(run: Run) -> None:
    listed = json.loads(run("teachers", "list", "--json").out)
    assert [(teacher["name"], teacher["present"]) for teacher in listed][:2] == [
        ("sam2.1-tiny", False),
        ("sam2.1-small", False),
    ]


def test_a_dataset_that_an_evaluation_names_must_be_there(run: Run) -> None:
    ended = run("jobs", "submit", "evaluation", "--model", "picosam2/1", "--dataset", "nothing/val")
    assert ended.code in {3, 4}
    assert ended.out == ""


def test_the_life_of_a_pipeline(run: Run, shapes: None, tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    file.write_text(json.dumps(PIPELINE))
    started = run("pipelines", "submit", str(file), "-p", "samples=20", "--tag", "a=b")
    assert started.code == 0, started.err
    pipeline = json.loads(run("pipelines", "show", "last", "--json").out)
    assert pipeline["id"] == started.out.strip()
    assert pipeline["parameters"] == {"samples": 20}
    assert pipeline["tags"] == {"a": "b"}
    listed = run("pipelines", "list").out
    assert "two" in listed
    assert "again waiting" in listed
    assert run("pipelines", "cancel", "last").code == 0
    assert run("pipelines", "retry", "last", "--from", "nowhere").code == 4


def test_a_pipeline_that_cannot_be_is_refused_with_the_place(run: Run, shapes: None, tmp_path: Path) -> None:
    wrong = json.loads(json.dumps(PIPELINE))
    wrong["steps"][1]["spec"]["initial_model"] = "${steps.trian.model}"
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(wrong))
    ended = run("pipelines", "submit", str(file))
    assert ended.code == 4
    assert "steps.1.spec.initial_model" in ended.err
    refused = run("pipelines", "submit", str(file), "-p", "samples=0")
    assert refused.code == 4


def test_templates_are_shown_with_what_they_need(run: Run) -> None:
    shown = run("pipelines", "templates")
    assert "picosam2-imx500" in shown.out
    assert "train > distil > evaluate > quantize > quantize_cpu > package" in shown.out
    assert "validation (needed)" in shown.out


def test_the_life_of_a_sweep(run: Run, shapes: None) -> None:
    started = run(
        "sweeps", "submit", "rates", *FITTING, "--grid", "recipe.learning_rate=0.001,0.002", "--figure", "miou_96_pad"
    )
    assert started.code == 0, started.err
    assert "2 trials" in started.err
    shown = run("sweeps", "show", "last")
    assert "maximize miou_96_pad" in shown.out
    assert started.out.strip() in run("sweeps", "list").out
    assert run("sweeps", "cancel", "last").code == 0
    wrong = run("sweeps", "submit", "rates", *FITTING, "--grid", "recipe.learning_raet=1,2")
    assert wrong.code == 4
    assert "learning_raet" in wrong.err


def test_every_kind_of_job_is_explained(run: Run) -> None:
    kinds = json.loads(run("jobs", "kinds", "--json").out)
    assert {kind["kind"] for kind in kinds} == {kind.value for kind in JobKind}
