"""The command line against the real jobs service, and what it says when it is used wrongly."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from shared.client.cli.main import app

Run = Callable[..., Any]


def every_command() -> list[list[str]]:
    """Paths of all commands."""

    def below(group: Any, path: list[str]) -> list[list[str]]:
        found = [path]
        for name, command in getattr(group, "commands", {}).items():
            found += below(command, [*path, name])
        return found

    return below(typer.main.get_command(app), [])


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_explains_itself(path: list[str]) -> None:
    shown = CliRunner().invoke(app, [*path, "--help"])
    assert shown.exit_code == 0
    assert "Usage:" in shown.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "lst"],
        ["jobs", "submit", "training"],
        ["jobs", "submit", "training", "--train", "no-slash", "--validation", "a/b"],
        ["jobs", "submit", "training", "--train", "a/b", "--validation", "a/b"],
        ["jobs", "submit", "training", "--train", "a/b", "--validation", "a/c", "--batch-size", "0"],
        ["jobs", "submit", "training", "--train", "a/b", "--validation", "a/c", "--set", "recipe.nonsense=1"],
        ["jobs", "submit", "training", "--train", "a/b", "--validation", "a/c", "--set", "nosign"],
        ["datasets", "register", "x"],
        ["datasets", "register", "x", "--generator", "--root", "/tmp"],
        ["datasets", "register", "Not A Name", "--generator"],
        ["datasets", "register", "x", "--root", "/tmp", "--split", "train=only-images"],
        ["datasets", "register", "x", "--generator", "--fractions", "train=much"],
        ["datasets", "register", "x", "--generator", "--fractions", "train=0.5,val=0.1"],
        ["datasets", "fetch", "imagenet"],
        ["models", "show", "no-version"],
        ["models", "import", "/nowhere.onnx"],
        ["keys", "create", "x", "--scope", "god"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2_and_no_trace(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert ended.err.strip()
    assert ended.out == ""


def test_a_wrong_field_is_named(run: Run) -> None:
    ended = run("jobs", "submit", "training", "--train", "a/b", "--validation", "a/c", "--batch-size", "0")
    assert "recipe.batch_size" in ended.err
    assert "greater than or equal to 1" in ended.err


def test_no_platform_is_exit_code_3(run_alone: Run) -> None:
    ended = run_alone("jobs", "list")
    assert ended.code == 3
    assert "picofleet up" in ended.err


def test_a_service_that_is_away_is_exit_code_3(run_alone: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.client.transport.FIRST_PAUSE_S", 0)
    assert run_alone("--url", "http://127.0.0.1:9", "jobs", "list").code == 3


def test_a_refusal_is_exit_code_4_with_field_and_hint(run: Run) -> None:
    ended = run("jobs", "submit", "training", "--train", "nothing/train", "--validation", "nothing/val")
    assert ended.code == 4
    assert "nothing" in ended.err


def test_errors_are_json_for_programs(run: Run) -> None:
    ended = run("jobs", "show", "01a20397-16a2-725e-8ae8-f32d8327209b", "--json")
    assert ended.code == 4
    told = json.loads(ended.err)
    assert (told["exit_code"], told["problem"]["status"]) == (4, 404)
    assert ended.out == ""


def test_a_service_text_cannot_inject_markup(run: Run) -> None:
    run("datasets", "register", "a", "--generator", "--description", "[bold red]x[/bold red] [/]", "--no-wait")
    assert "[bold red]x[/bold red] [/]" in run("datasets", "show", "a").out


def test_the_life_of_a_dataset(run: Run) -> None:
    made = run("datasets", "register", "shapes", "--generator", "--images", "20", "--no-wait", "--json")
    assert made.code == 0
    job = json.loads(made.out)["import_job"]
    assert "shapes" in run("datasets", "list").out
    assert job in run("jobs", "list").out
    assert json.loads(run("jobs", "list", "--state", "queued", "--json").out)[0]["id"] == job
    assert run("jobs", "cancel", "last").code == 0
    assert "cancelled" in run("jobs", "show", job).out
    watched = run("jobs", "watch", job)
    assert watched.code == 1, "a job that was cancelled has not succeeded"
    assert "jobs retry" in watched.err
    assert run("datasets", "rm", "shapes", "--yes").code == 0
    assert run("datasets", "list").err.strip() == "No datasets."


def test_nothing_is_removed_without_a_yes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("datasets", "register", "shapes", "--generator", "--no-wait")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    ended = run("datasets", "rm", "shapes")
    assert ended.code == 2
    assert "--yes" in ended.err


def test_a_made_key_is_alone_on_stdout(run: Run) -> None:
    ended = run("keys", "create", "dash", "--scope", "viewer", "--days", "3")
    assert re.fullmatch(r"pf_[\w-]{43}\n", ended.out)
    assert "not shown again" in ended.err
    assert ended.out.strip() not in run("keys", "list").out


def test_kinds_give_every_default(run: Run) -> None:
    kinds = json.loads(run("jobs", "kinds", "--json").out)
    training = next(kind for kind in kinds if kind["kind"] == "training")
    assert "recipe" in json.dumps(training["json_schema"])


def test_a_spec_file_is_taken_and_options_go_before_it(run: Run, tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"train": [{"dataset": "a", "split": "t"}], "recipe": {"samples": 5}}))
    ended = run("jobs", "submit", "training", "--spec", str(spec), "--validation", "a/v", "--set", "recipe.samples=0")
    assert ended.code == 2
    assert "recipe.samples" in ended.err
    (tmp_path / "broken.json").write_text("{")
    assert run("jobs", "submit", "training", "--spec", str(tmp_path / "broken.json")).code == 2


def test_what_is_unexpected_is_no_trace_either(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("surprise")

    monkeypatch.setattr("shared.client.resources.jobs.Jobs.list", fail)
    ended = run("jobs", "list")
    assert ended.code == 1
    assert "surprise" in ended.err
    assert "PICOFLEET_TRACE=1" in ended.err
    assert "Traceback" not in ended.err


def test_the_command_starts_without_heavy_imports() -> None:
    heavy = ("torch", "mlflow", "psutil", "celery", "sqlalchemy", "numpy", "cryptography", "model_signing")
    code = f"import sys, shared.client.cli.main; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
