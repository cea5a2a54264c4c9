"""The database's revisions.

A new one: ``python -m services.inference.migrate "what changes"`` with PICOFLEET_INFERENCE_DATABASE_URL naming a migrated
database.
"""

import sys
from pathlib import Path
from typing import Final

from services.inference.settings import InferenceSettings
from shared.kit.migrations import Migrations

MIGRATIONS: Final = Migrations(Path(__file__).parent / "migrations", lock=0x696E6672)  # "infr"


def upgrade(database_url: str) -> None:
    """Bring the database to the newest schema."""
    MIGRATIONS.upgrade(database_url)


if __name__ == "__main__":
    MIGRATIONS.write(InferenceSettings().database_url, sys.argv[1])
