"""Models and migrations, on the database that the suite runs on."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, inspect, text

from services.jobs.migrate import MIGRATIONS, upgrade
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
        assert MigrationContext.configure(connection).get_current_revision() == "0004"
    engine.dispose()


def run(url, what, target):
    engine = make_engine(url)
    with engine.begin() as connection:
        getattr(command, what)(MIGRATIONS.config(connection), target)
    engine.dispose()


def read(url, query):
    engine = make_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return rows


OLD_ROWS = """
INSERT INTO datasets VALUES ('d1', 'coco', 'ready', '{}', NULL, '', '{}', 'ada', :now, NULL, 'sha256:d1', NULL, NULL, NULL,
    '{}', '{}', NULL);
INSERT INTO jobs VALUES ('j1', 'training', NULL, '{}', 'ada', '{}', :now, :now, 'succeeded', 1, 0, 'null', NULL, NULL, NULL,
    NULL, 0, NULL, 1, 0, NULL, NULL, '{"name": "m", "version": 3, "artifact_uri": "mlflow-artifacts:/x"}', '{}', '[]', NULL);
INSERT INTO jobs VALUES ('j2', 'dataset_import', NULL, '{}', 'ada', '{}', :now, :now, 'queued', 0, 0, 'null', NULL, NULL, NULL,
    NULL, 0, NULL, 1, 0, NULL, NULL, 'null', '{}', '[]', NULL);
INSERT INTO jobs VALUES ('j3', 'training', NULL, '{}', 'ada', '{}', :now, :now, 'queued', 0, 0, 'null', NULL, NULL, NULL,
    NULL, 0, NULL, 0, 0, NULL, NULL, NULL, '{}', '[]', NULL);
INSERT INTO job_events VALUES ('j1', 1, 'state', :now, '{}');
INSERT INTO job_events VALUES ('j2', 1, 'state', :now, '{}');
INSERT INTO job_datasets VALUES ('j1', 0, 'd1', 'coco', 'a');
INSERT INTO job_datasets VALUES ('j1', 1, 'd2', 'gone', 'b');
INSERT INTO job_datasets VALUES ('j1', 2, 'd1', 'coco', 'c');
INSERT INTO job_datasets VALUES ('j3', 0, 'd1', 'coco', 'a');
INSERT INTO job_datasets VALUES ('j3', 1, 'd1', 'coco', 'b');
INSERT INTO model_versions VALUES ('v1', 'j1', 'model', 'm', 4, 'registered', 'r', 'model', '', '{}', '{}', NULL, 1, :now,
    :now);
INSERT INTO lineage_edges VALUES ('v1', 'dataset', 'd1');
INSERT INTO lineage_edges VALUES ('v1', 'dataset', 'd2');
INSERT INTO lineage_edges VALUES ('v1', 'model', 'm/3');
"""
EDGES = "SELECT version_id, parent_kind, parent FROM lineage_edges ORDER BY 2, 3"


def test_models_and_datasets_of_old_jobs_get_their_roles_and_no_event_is_lost(empty_database):
    run(empty_database, "upgrade", "0001")
    engine = make_engine(empty_database)
    with engine.begin() as connection:
        for statement in OLD_ROWS.strip().rstrip(";").split(";\n"):
            connection.execute(text(statement.replace(":now", "'2026-01-01 00:00:00'").replace(": ", "\\: ")))
    engine.dispose()
    edges = read(empty_database, EDGES)
    upgrade(empty_database)
    assert read(empty_database, "SELECT * FROM job_models") == [("j1", "initial_model", "m", 3, "mlflow-artifacts:/x")]
    assert read(empty_database, "SELECT job_id, split, role, digest FROM job_datasets ORDER BY job_id, position") == [
        ("j1", "a", "train", "sha256:d1"),
        ("j1", "b", "train", None),
        ("j1", "c", "validation", "sha256:d1"),
        ("j3", "a", "train", "sha256:d1"),
        ("j3", "b", "validation", "sha256:d1"),
    ]
    assert read(empty_database, "SELECT job_id FROM job_events ORDER BY job_id") == [("j1",), ("j2",)]
    run(empty_database, "downgrade", "0001")
    assert read(empty_database, EDGES) == edges
    assert read(empty_database, "SELECT job_id FROM job_events ORDER BY job_id") == [("j1",), ("j2",)]
    upgrade(empty_database)
    assert read(empty_database, "SELECT count(*) FROM job_models") == [(1,)]


def test_migrating_again_keeps_what_is_there(client, admin, database_url):
    upgrade(database_url)
    assert client.get("/v1/keys/self", headers=admin).status_code == 200
