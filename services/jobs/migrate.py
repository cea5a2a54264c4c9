"""Brings the database to the newest schema; safe to run from any number of replicas at once.

A new revision: ``python -m services.jobs.migrate "what changes"`` with PICOFLEET_JOBS_DATABASE_URL naming a migrated database.
"""

import sys
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from services.jobs.settings import JobsSettings
from shared.kit.database import make_engine

_LOCK: Final = 0x7069636F  # "pico"
_FOLDER: Final = Path(__file__).parent / "migrations"


def upgrade(database_url: str) -> None:
    """Run what is missing, all in one transaction. Others that migrate wait and then find nothing to do."""
    engine = make_engine(database_url)
    try:
        with engine.begin() as connection:  # in SQLite this takes the write lock
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            command.upgrade(_config(connection), "head")
    finally:
        engine.dispose()


def write_revision(database_url: str, message: str) -> None:
    """Write a revision with what the tables have and the database lacks; read it before committing it."""
    engine = make_engine(database_url)
    with engine.begin() as connection:
        command.revision(_config(connection), message, autogenerate=True)
    engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
    config.attributes["connection"] = connection
    return config


if __name__ == "__main__":
    write_revision(JobsSettings().database_url, sys.argv[1])
