"""Models and migrations, on the database that the suite runs on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect

from services.jobs.migrate import upgrade
from services.jobs.tables import METADATA
from shared.kit.database import make_engine


@pytest.fixture
def engine(database_url):
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


def is_ours(name):
    """The tests of the kit have tables of their own in the same metadata."""
    return not (name or "").startswith("kit_test_")


def include(item, name, kind, *_):
    return kind != "table" or is_ours(name)


def test_models_and_migrations_agree(engine):
    options = {"compare_type": True, "compare_server_default": True, "include_object": include}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, METADATA) == []


def test_check_constraints_are_migrated_too(engine):
    for table in filter(lambda table: is_ours(table.name), METADATA.tables.values()):
        wanted = {constraint.name for constraint in table.constraints if isinstance(constraint, CheckConstraint)}
        assert {check["name"] for check in inspect(engine).get_check_constraints(table.name)} == wanted, table.name


def test_replicas_that_start_together_migrate_once(empty_database):
    with ThreadPoolExecutor(4) as pool:
        for migrated in [pool.submit(upgrade, empty_database) for _ in range(4)]:
            migrated.result()
    engine = make_engine(empty_database)
    with engine.connect() as connection:
        assert MigrationContext.configure(connection).get_current_revision() == "0003"
    engine.dispose()


def test_migrating_again_keeps_what_is_there(client, admin, database_url):
    upgrade(database_url)
    assert client.get("/v1/keys/self", headers=admin).status_code == 200
