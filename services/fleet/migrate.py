"""The database's revisions.

A new one: ``python -m services.fleet.migrate "what changes"`` with PICOFLEET_FLEET_DATABASE_URL naming a migrated database.
"""

import sys
from pathlib import Path
from typing import Final

from services.fleet.settings import FleetSettings
from shared.kit.migrations import Migrations

MIGRATIONS: Final = Migrations(Path(__file__).parent / "migrations", lock=0x666C6565)  # "flee"


def upgrade(database_url: str) -> None:
    """Bring the database to the newest schema."""
    MIGRATIONS.upgrade(database_url)


if __name__ == "__main__":
    MIGRATIONS.write(FleetSettings().database_url, sys.argv[1])
