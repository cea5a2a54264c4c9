"""Pipelines and sweeps.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

from shared.kit.database import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pipelines",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("template", sa.String(length=63), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("parameters", Json, nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pipelines")),
    )
    with op.batch_alter_table("pipelines", schema=None) as batch_op:
        batch_op.create_index("ix_pipelines_state", ["state"], unique=False)

    op.create_table(
        "sweeps",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("base", Json, nullable=False),
        sa.Column("search", Json, nullable=False),
        sa.Column("objective", Json, nullable=False),
        sa.Column("parallel", sa.Integer(), nullable=False),
        sa.Column("max_failed", sa.Integer(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("mlflow_run_id", sa.String(length=64), nullable=True),
        sa.Column("run_closed", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweeps")),
    )
    with op.batch_alter_table("sweeps", schema=None) as batch_op:
        batch_op.create_index("ix_sweeps_run_closed", ["run_closed"], unique=False)
        batch_op.create_index("ix_sweeps_state", ["state"], unique=False)

    op.create_table(
        "pipeline_runs",
        sa.Column("pipeline_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.String(length=63), nullable=False),
        sa.Column("run", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_pipeline_runs_job_id")),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_pipeline_runs_pipeline_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pipeline_id", "step", "run", name=op.f("pk_pipeline_runs")),
    )
    with op.batch_alter_table("pipeline_runs", schema=None) as batch_op:
        batch_op.create_index("ix_pipeline_runs_job_id", ["job_id"], unique=False)

    op.create_table(
        "pipeline_steps",
        sa.Column("pipeline_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("after", Json, nullable=False),
        sa.Column("gates", Json, nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("take_up", sa.Boolean(), nullable=False),
        sa.Column("error", Json, nullable=True),
        sa.Column("waiting_for", sa.String(), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["pipeline_id"], ["pipelines.id"], name=op.f("fk_pipeline_steps_pipeline_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("pipeline_id", "name", name=op.f("pk_pipeline_steps")),
    )
    op.create_table(
        "sweep_trials",
        sa.Column("sweep_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chosen", Json, nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("figure", sa.Double(), nullable=True),
        sa.Column("job_id", sa.String(length=36), nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_sweep_trials_job_id")),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name=op.f("fk_sweep_trials_sweep_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_sweep_trials")),
    )
    with op.batch_alter_table("sweep_trials", schema=None) as batch_op:
        batch_op.create_index("ix_sweep_trials_job_id", ["job_id"], unique=False)


def downgrade() -> None:
    for table in ("sweep_trials", "sweeps", "pipeline_runs", "pipeline_steps", "pipelines"):
        op.drop_table(table)
