"""What `picofleet jobs submit` sends, and what it refuses before anything is sent."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.client.cli.common import UsageError
from shared.client.cli.submit import draft, put
from shared.contracts.base import digest_of
from shared.contracts.jobs import JobKind, JobOut, JobState

Run = Callable[..., Any]
FITTING = ("--train", "a/train", "--validation", "a/val")


@pytest.fixture
def sent(script: Any, answer: Callable[..., Any], run_scripted: Run) -> Callable[..., tuple[str, dict[str, Any]]]:
    """(route, body) of what the command submits."""
    job = JobOut(
        id="1",
        kind=JobKind.TRAINING,
        name=None,
        state=JobState.QUEUED,
        spec={},
        owner="",
        tags={},
        created_at=datetime.now(UTC),
        attempt=0,
    )
    script.handlers = [answer(201, job.model_dump_json())]

    def send(*arguments: str) -> tuple[str, dict[str, Any]]:
        ended = run_scripted("jobs", "submit", *arguments)
        assert ended.code == 0, ended.err
        assert ended.out == "1\n"
        _, path, _, body = script.requests[-1]
        return path, json.loads(body)

    return send


def test_a_published_teacher_is_named_by_its_size(sent: Callable[..., tuple[str, dict[str, Any]]]) -> None:
    path, body = sent("distillation", "--teacher", "sam2.1-base-plus", *FITTING, "--view", "image")
    assert path == "/v1/jobs/distillation"
    assert body["teacher"] == {
        "kind": "sam2",
        "size": "base_plus",
        "checkpoint": None,
        "masks": "best",
        "allow_random_weights": False,
    }
    assert body["distillation"]["view"] == "image"
    assert body["distillation"]["loss"] == "per_sample", "what is not given keeps its default"


def test_options_of_a_packaging_arrive(sent: Callable[..., tuple[str, dict[str, Any]]]) -> None:
    options = ("--golden", "a/val", "--label", "door", "--no-input-persistency", "--max-memory-utilization", "0.5")
    path, body = sent("packaging", "picosam2.imx500/3", *options, "--set", "golden.frames=4", "--set", "roi.prompt=box")
    assert path == "/v1/jobs/packaging"
    assert (body["model"], body["line"], body["register_as"]) == ("picosam2.imx500/3", "picosam2", "picosam2.package")
    assert body["golden"]["dataset"] == {"dataset": "a", "split": "val"}
    assert (body["golden"]["frames"], body["labels"], body["input_persistency"]) == (4, ["door"], False)
    assert (body["max_memory_utilization"], body["roi"]["prompt"]) == (0.5, "box")


def test_a_dry_run_needs_no_golden_frames(sent: Callable[..., tuple[str, dict[str, Any]]]) -> None:
    _, body = sent("packaging", "picosam2.imx500/3", "--dry-run")
    assert (body["dry_run"], body["golden"], body["register_as"]) == (True, None, None)


def test_all_options_of_a_distillation_arrive(sent: Callable[..., tuple[str, dict[str, Any]]]) -> None:
    _, body = sent(
        *("distillation", "--teacher", "big@champion", *FITTING, "--loss", "paper", "--weight", "0.5", "--final-weight", "0.1"),
        *("--schedule", "cosine", "--temperature", "2", "--samples", "500", "--architecture", "picosam3", "--no-register"),
        *("--tag", "a=b", "--set", "recipe.augmentation.flip=0", "--name", "n", "--initial-model", "picosam3/1", "--seed", "7"),
    )
    assert body["teacher"] == {"kind": "model", "model": "big@champion"}
    told = body["distillation"]
    assert (told["loss"], told["weight"], told["final_weight"], told["schedule"]) == ("paper", 0.5, 0.1, "cosine")
    assert told["temperature"] == 2
    recipe = body["recipe"]
    assert (recipe["samples"], recipe["architecture"], recipe["augmentation"]["flip"]) == (500, "picosam3", 0)
    assert (body["register_as"], body["tags"], body["name"]) == (None, {"a": "b"}, "n")
    assert (body["initial_model"], recipe["seed"]) == ("picosam3/1", 7)


def test_a_checkpoint_of_ones_own_is_uploaded_and_named_by_its_digest(
    script: Any, answer: Callable[..., Any], sent: Callable[..., tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    weights = tmp_path / "mine.pt"
    weights.write_bytes(b"weights")
    there = answer(200)
    script.handlers.insert(0, there)  # HEAD of the blob
    _, body = sent("distillation", "--teacher", "sam2.1-tiny", "--checkpoint", str(weights), *FITTING)
    assert body["teacher"]["checkpoint"] == {"digest": digest_of(b"weights"), "url": None}
    assert script.asked[0][:2] == ("HEAD", f"/v1/blobs/{digest_of(b'weights')}")


def test_an_evaluation_names_models_runtimes_windows_and_borders(sent: Callable[..., tuple[str, dict[str, Any]]]) -> None:
    path, body = sent(
        *("evaluation", "--model", "picosam2/2", "--model", "picosam2@champion:torch", "--dataset", "a/val"),
        *("--prompt", "box", "--prompt", "point", "--border", "pad", "--jitter", "0,0.1,0.3", "--max-prompts", "1000"),
        *("--no-mask-ap", "--set", "models.0.runtime=torch", "--set", "windows.1.side=128"),
    )
    assert path == "/v1/jobs/evaluation"
    assert body["models"] == [
        {"model": "picosam2/2", "runtime": "torch"},
        {"model": "picosam2@champion", "runtime": "torch"},
    ]
    assert [(window["prompt"], window["side"]) for window in body["windows"]] == [("box", 96), ("point", 128)]
    assert (body["borders"], body["jitter"], body["mask_ap"]) == (["pad"], [0, 0.1, 0.3], False)
    assert (body["dataset"], body["max_prompts"]) == ({"dataset": "a", "split": "val"}, 1000)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["distillation", *FITTING], "--teacher is missing"),
        (["distillation", "--teacher", "sam3", *FITTING], "sam2.1-tiny"),
        (["distillation", "--teacher", "a/1", *FITTING, "--view", "image"], "sam2 teacher"),
        (["distillation", "--teacher", "a/1", "--checkpoint", __file__, *FITTING], "teacher.model.checkpoint"),
        (["distillation", "--teacher", "a/1", *FITTING, "--final-weight", "0.5"], "final_weight"),
        (["distillation", "--teacher", "a/1", *FITTING, "--weight", "2"], "distillation.weight"),
        (["evaluation", "--model", "a/1"], "--dataset is missing"),
        (["evaluation", "--dataset", "a/val"], "--model"),
        (["evaluation", "--model", "a/1:tensorrt", "--dataset", "a/val"], "models.0.runtime"),
        (["evaluation", "--model", "a/1", "--dataset", "a/val", "--jitter", "0,x"], "no number"),
        (["evaluation", "--model", "a/1", "--dataset", "a/val", "--set", "models.3.runtime=torch"], "none of the 1 entries"),
        (["training", "--train", "a", "--validation", "a/val"], "DATASET/SPLIT"),
        (["training", *FITTING, "--samples", "5", "--set", "recipe.samples.x=1"], "no group of settings"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    run_scripted: Run, script: Any, arguments: list[str], told: str
) -> None:
    ended = run_scripted("jobs", "submit", *arguments)
    assert ended.code == 2
    assert told in ended.err.replace("\n", " ")
    assert script.requests == []


def test_settings_go_before_options_and_options_before_the_file(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"recipe": {"samples": 1, "seed": 1, "batch_size": 1}, "tags": {"file": "1", "both": "1"}}))
    fields = {"recipe.samples": 2, "recipe.seed": 2, "name": None}
    wanted = draft(spec, fields, ["both=2"], ["recipe.samples=3"])
    assert wanted == {"recipe": {"samples": 3, "seed": 2, "batch_size": 1}, "tags": {"file": "1", "both": "2"}}


def test_a_path_leads_through_lists_and_never_through_values() -> None:
    target: dict[str, Any] = {"train": [{"split": "a"}, "text"]}
    put(target, "train.0.split", "b")
    put(target, "train.1", "c")
    put(target, "new.group.field", 1)
    assert target == {"train": [{"split": "b"}, "c"], "new": {"group": {"field": 1}}}
    for path in ("train.1.x", "train.2", "train.x", "train.-1"):
        with pytest.raises(UsageError, match=path.replace(".", r"\.")):
            put(target, path, 1)
