"""Brings a service's database to its newest schema; safe to run from any number of replicas at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import JSON, Connection, Engine, Enum, MetaData, inspect, text

from shared.kit.database import UtcDateTime, make_engine

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.config import Config


@dataclass(frozen=True, slots=True)
class Migrations:
    """The revisions in ``folder``, which has ``env.py`` and ``versions``. ``lock``: any number that no other service takes."""

    folder: Path
    lock: int

    def upgrade(self, database_url: str) -> None:
        """Run what is missing, all in one transaction. Others that migrate wait and then find nothing to do."""
        engine = make_engine(database_url)
        try:
            if self._is_newest(engine):
                return
            with engine.begin() as connection:  # in SQLite this takes the write lock
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": self.lock})
                from alembic import command

                command.upgrade(self.config(connection), "head")
        finally:
            engine.dispose()

    @property
    def newest(self) -> str:
        """The last revision: they are numbered, 0001 and so on, and their files named so."""
        return max(path.name.partition("_")[0] for path in (self.folder / "versions").glob("[0-9]*.py"))

    def _is_newest(self, engine: Engine) -> bool:
        """Asked without Alembic, whose import takes as long as much of a service's start."""
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return False
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == self.newest

    def write(self, database_url: str, message: str) -> None:
        """Write a revision with what the tables have and the migrated database lacks; read it before committing it."""
        engine = make_engine(database_url)
        from alembic import command

        with engine.begin() as connection:
            command.revision(self.config(connection), message, autogenerate=True)
        engine.dispose()

    def config(self, connection: Connection) -> "Config":
        """Alembic's, for commands on ``connection``."""
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self.folder).replace("%", "%%"))
        config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
        config.attributes["connection"] = connection
        return config


def run(tables: MetaData) -> None:
    """What a service's ``env.py`` calls: migrate inside the transaction that is open on the given connection."""
    from alembic import context

    connection: Connection = context.config.attributes["connection"]
    batch = connection.dialect.name == "sqlite"  # SQLite cannot alter a table: Alembic copies it
    context.configure(
        connection=connection, target_metadata=tables, compare_type=True, render_item=_render, render_as_batch=batch
    )
    context.run_migrations()


def _render(kind: str, item: Any, autogen: "AutogenContext") -> str | Literal[False]:
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
