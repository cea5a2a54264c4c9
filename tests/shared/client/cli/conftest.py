"""Running `picofleet` in this process."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.client.cli.main import main

Run = Callable[..., Any]


@pytest.fixture
def run(service: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `picofleet ...` against the service; the answer has ``code``, ``out`` and ``err``."""
    monkeypatch.setenv("PICOFLEET_URL", service.url)
    monkeypatch.setenv("PICOFLEET_API_KEY", service.key)
    return _runner(capfd)


@pytest.fixture
def run_scripted(script: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """The same against the scripted server."""
    monkeypatch.setenv("PICOFLEET_URL", script.url)
    return _runner(capfd)


@pytest.fixture
def run_alone(capfd: pytest.CaptureFixture[str]) -> Run:
    """The same without any service."""
    return _runner(capfd)


def _runner(capfd: pytest.CaptureFixture[str]) -> Run:
    class Ended:
        def __init__(self, *arguments: str) -> None:
            with pytest.raises(SystemExit) as caught:
                main(list(arguments))
            self.code = caught.value.code
            self.out, self.err = capfd.readouterr()

    return Ended
