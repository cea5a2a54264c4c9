"""How the demo ends: with a package where Sony's converter may be installed, with a clear word where not."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from shared.client.cli.demo_package import converter_is_there, keep_package
from shared.client.sdk import PicofleetClient
from shared.contracts.jobs import JobKind
from shared.contracts.pipelines import StepOut, StepState


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=4096)


def told(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture(autouse=True)
def _no_toolchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PICOFLEET_TOOLCHAIN", raising=False)


def test_without_a_terminal_nobody_can_agree_and_nothing_is_fetched(console: Console, tmp_path: Path) -> None:
    assert not converter_is_there(tmp_path, console, accepted=False)
    assert "--accept-licence" in told(console)
    assert list(tmp_path.iterdir()) == []


def test_where_the_converter_cannot_be_installed_the_demo_goes_on_and_says_why(console: Console, tmp_path: Path) -> None:
    assert not converter_is_there(tmp_path / "with space", console, accepted=True)
    assert "could not be installed" in told(console)
    assert "spaces or signs" in told(console)
    assert "goes on without a package" in told(console)


def test_the_package_is_kept_and_verified(
    console: Console, fleet: PicofleetClient, publish: Callable[[], int], tmp_path: Path
) -> None:
    publish()
    step = StepOut(
        name="package",
        kind=JobKind.PACKAGING,
        spec={},
        after=[],
        state=StepState.SUCCEEDED,
        result={"line": "picosam2", "release": 1},
    )
    words = keep_package(fleet, console, step, tmp_path / "demo")
    assert words.startswith("package picosam2/1 0.03 MB fits 42%")
    assert "verified with key" in told(console)
    assert (tmp_path / "demo" / "picosam2-1.tar").exists()
