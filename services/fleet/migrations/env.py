"""Alembic's entry."""

from services.fleet.tables import METADATA
from shared.kit import migrations

migrations.run(METADATA)
