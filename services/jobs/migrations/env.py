"""Alembic's entry."""

from services.jobs.tables import METADATA
from shared.kit import migrations

migrations.run(METADATA)
