"""Fixtures for all services."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PICOFLEET_JOBS_", "PICOFLEET_INFERENCE_"))]:
        monkeypatch.delenv(name)
