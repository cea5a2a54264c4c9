"""Alembic's entry."""

from services.inference.tables import METADATA
from shared.kit import migrations

migrations.run(METADATA)
