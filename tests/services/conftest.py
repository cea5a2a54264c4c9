"""Fixtures for all services."""

import os

import pytest


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    prefixes = ("PICOFLEET_JOBS_", "PICOFLEET_INFERENCE_", "PICOFLEET_FLEET_")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)
