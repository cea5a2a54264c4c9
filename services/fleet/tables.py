"""Imports the models of every feature, so that ``METADATA`` knows all tables."""

import importlib
from typing import Final

from services.fleet.database import FleetBase
from shared.kit.idempotency import StoredAnswer

MODELS: Final = ("cameras", "packages", "rollouts", "actions", "polling", "events", "hawkbit")
"""Features with a ``models`` module."""

for _feature in MODELS:
    importlib.import_module(f"services.fleet.{_feature}.models")

METADATA: Final = FleetBase.metadata
StoredAnswer.__table__.to_metadata(METADATA)  # type: ignore[attr-defined]  # a Table, says its documentation
