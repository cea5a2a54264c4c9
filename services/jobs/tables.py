"""Imports the models of every feature, so that ``Base.metadata`` knows all tables."""

import importlib
from typing import Final

from shared.kit import idempotency
from shared.kit.database import Base

MODELS: Final = ("keys", "datasets", "shards", "jobs", "models", "packages", "workers", "pipelines", "sweeps")
"""Features with a ``models`` module."""

for _feature in MODELS:
    importlib.import_module(f"services.jobs.{_feature}.models")

METADATA: Final = Base.metadata
_ = idempotency
