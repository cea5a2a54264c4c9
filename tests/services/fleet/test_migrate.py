"""Models and migrations, on the database that the suite runs on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from services.fleet.migrate import MIGRATIONS, upgrade
from services.fleet.tables import METADATA
from shared.kit.database import make_engine


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def test_models_and_migrations_agree(engine):
    options = {"compare_type": True, "compare_server_default": True}
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []


def test_check_constraints_are_migrated_too(engine):
    for table in METADATA.tables.values():
        wanted = {constraint.name for constraint in table.constraints if isinstance(constraint, CheckConstraint)}
        assert {check["name"] for check in inspect(engine).get_check_constraints(table.name)} == wanted, table.name


def test_replicas_that_start_together_migrate_once(empty_database):
    with ThreadPoolExecutor(4) as pool:
        for migrated in [pool.submit(upgrade, empty_database) for _ in range(4)]:
            migrated.result()
    newest = max(file.name[:4] for file in (MIGRATIONS.folder / "versions").glob("[0-9]*.py"))
    engine = make_engine(empty_database)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == newest
    engine.dispose()
