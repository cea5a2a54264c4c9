"""Imports the models of every feature, so that ``METADATA`` knows all tables."""

import importlib
from typing import Final

from services.inference.database import InferenceBase
from shared.kit.idempotency import StoredAnswer

MODELS: Final = ("deployments", "feedback")
"""Features with a ``models`` module."""

for _feature in MODELS:
    importlib.import_module(f"services.inference.{_feature}.models")

METADATA: Final = InferenceBase.metadata
StoredAnswer.__table__.to_metadata(METADATA)  # type: ignore[attr-defined]  # a Table, says its documentation
