"""Jobs know what they are part of, and read any number of model versions, each in a role.

What a version was made from is what its job read: the edges that were kept beside it are gone.

Revision ID: 0002
Revises: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

from shared.kit.database import Json

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

JOBS = sa.table("jobs", sa.column("id", sa.String), sa.column("initial_model", Json))
JOB_MODELS = sa.table(
    "job_models",
    sa.column("job_id", sa.String),
    sa.column("role", sa.String),
    sa.column("name", sa.String),
    sa.column("version", sa.Integer),
    sa.column("artifact_uri", sa.String),
)
PARENT = {"parent_kind": 16, "parent_id": 36, "parent_part": 128, "parent_run_id": 64}
"""New columns of a job with their lengths."""


def upgrade() -> None:
    _add_parents()
    _add_roles_of_datasets()
    _make_job_models()
    _move(_initial_models())
    # Never in a batch: SQLite would copy the table, and dropping the old one takes all events of all jobs with it.
    op.drop_column("jobs", "initial_model")
    op.drop_table("lineage_edges")


def _add_parents() -> None:
    for name, length in PARENT.items():
        op.add_column("jobs", sa.Column(name, sa.String(length=length), nullable=True))
    op.create_index("ix_jobs_parent_kind_parent_id", "jobs", ["parent_kind", "parent_id"], unique=False)


def _add_roles_of_datasets() -> None:
    op.add_column("job_datasets", sa.Column("role", sa.String(length=63), nullable=True))
    op.add_column("job_datasets", sa.Column("digest", sa.String(length=71), nullable=True))
    op.execute("UPDATE job_datasets SET role = 'train'")
    last = "SELECT max(others.position) FROM job_datasets AS others WHERE others.job_id = job_datasets.job_id"
    op.execute(f"UPDATE job_datasets SET role = 'validation' WHERE position = ({last})")
    digest = "SELECT datasets.digest FROM datasets WHERE datasets.id = job_datasets.dataset_id"
    op.execute(f"UPDATE job_datasets SET digest = ({digest})")
    with op.batch_alter_table("job_datasets", schema=None) as batch_op:
        batch_op.alter_column("role", existing_type=sa.String(length=63), nullable=False)


def _make_job_models() -> None:
    op.create_table(
        "job_models",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("role", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("artifact_uri", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_models_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "role", name=op.f("pk_job_models")),
    )
    with op.batch_alter_table("job_models", schema=None) as batch_op:
        batch_op.create_index("ix_job_models_name_version", ["name", "version"], unique=False)


def _initial_models() -> list[dict[str, Any]]:
    found = op.get_bind().execute(sa.select(JOBS.c.id, JOBS.c.initial_model))
    # Null in the document as well as in the column: both were written for "none".
    return [{"job_id": job_id, "role": "initial_model"} | _grant(grant) for job_id, grant in found if grant is not None]


def _grant(stored: Any) -> dict[str, Any]:
    return {name: stored[name] for name in ("name", "version", "artifact_uri")}


def _move(rows: list[dict[str, Any]]) -> None:
    if rows:
        op.bulk_insert(JOB_MODELS, rows)


def downgrade() -> None:
    op.add_column("jobs", sa.Column("initial_model", Json, nullable=True))
    _give_back_initial_models()
    _make_lineage_edges()
    op.drop_table("job_models")
    with op.batch_alter_table("job_datasets", schema=None) as batch_op:
        batch_op.drop_column("digest")
        batch_op.drop_column("role")
    op.drop_index("ix_jobs_parent_kind_parent_id", "jobs")
    for name in PARENT:
        op.drop_column("jobs", name)


def _give_back_initial_models() -> None:
    connection = op.get_bind()
    for row in connection.execute(sa.select(JOB_MODELS).where(JOB_MODELS.c.role == "initial_model")).mappings().all():
        connection.execute(sa.update(JOBS).where(JOBS.c.id == row["job_id"]).values(initial_model=_grant(row)))


def _make_lineage_edges() -> None:
    op.create_table(
        "lineage_edges",
        sa.Column("version_id", sa.String(length=36), nullable=False),
        sa.Column("parent_kind", sa.String(length=16), nullable=False),
        sa.Column("parent", sa.String(length=128), nullable=False),
        sa.CheckConstraint("parent_kind IN ('dataset', 'model')", name=op.f("ck_lineage_edges_parent_kind")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name=op.f("fk_lineage_edges_version_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version_id", "parent_kind", "parent", name=op.f("pk_lineage_edges")),
    )
    with op.batch_alter_table("lineage_edges", schema=None) as batch_op:
        batch_op.create_index("ix_lineage_edges_parent_kind_parent", ["parent_kind", "parent"], unique=False)
    for kind, parent, table in (
        ("dataset", "dataset_id", "job_datasets"),
        ("model", "job_models.name || '/' || job_models.version", "job_models"),
    ):
        read = f"SELECT DISTINCT model_versions.id, '{kind}', {parent} FROM model_versions JOIN {table}"
        op.execute(f"INSERT INTO lineage_edges {read} ON {table}.job_id = model_versions.job_id")
