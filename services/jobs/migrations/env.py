"""Alembic's entry: runs on the connection that `services.jobs.migrate` hands over, or opens one from the settings."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection, Enum

from services.jobs.settings import JobsSettings
from services.jobs.tables import METADATA
from shared.kit.database import UtcDateTime, make_engine


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Write our column types by their names, and enumerations as the text that they are; the rest as Alembic does."""
    if kind != "type":
        return False
    if isinstance(item, Enum) and not item.native_enum:
        return f"sa.String(length={item.length})"
    if isinstance(item, JSON):
        autogen.imports.add("from shared.kit.database import Json")
        return "Json"
    if isinstance(item, UtcDateTime):
        autogen.imports.add("from shared.kit.database import UtcDateTime")
        return "UtcDateTime()"
    return False


def run(connection: Connection) -> None:
    """Migrate inside the transaction that is open on ``connection``."""
    batch = connection.dialect.name == "sqlite"  # SQLite cannot alter a table: Alembic copies it
    context.configure(
        connection=connection, target_metadata=METADATA, compare_type=True, render_item=render, render_as_batch=batch
    )
    context.run_migrations()


def main() -> None:
    """Use what is there."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    with make_engine(JobsSettings().database_url).begin() as connection:
        run(connection)


main()
