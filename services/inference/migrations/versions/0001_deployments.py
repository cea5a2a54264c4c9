"""Deployments, their generations and replicas.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op

from shared.kit.database import Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sa.UniqueConstraint("name", name=op.f("uq_deployments_name")),
    )
    op.create_table(
        "idempotency_answers",
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("route", sa.String(length=256), nullable=False),
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("holder", "route", "key_hash", name=op.f("pk_idempotency_answers")),
    )
    with op.batch_alter_table("idempotency_answers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_answers_created_at"), ["created_at"], unique=False)

    op.create_table(
        "replicas",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_replicas")),
    )
    op.create_table(
        "deployment_replicas",
        sa.Column("deployment_id", sa.String(length=36), nullable=False),
        sa.Column("replica", sa.String(length=255), nullable=False),
        sa.Column("target", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_deployment_replicas_deployment_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["replica"], ["replicas.name"], name=op.f("fk_deployment_replicas_replica"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", "replica", name=op.f("pk_deployment_replicas")),
    )
    op.create_table(
        "deployment_revisions",
        sa.Column("deployment_id", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("versions", Json, nullable=False),
        sa.Column("shadow", Json, nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=63), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["deployment_id"], ["deployments.id"], name=op.f("fk_deployment_revisions_deployment_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("deployment_id", "generation", name=op.f("pk_deployment_revisions")),
    )


def downgrade() -> None:
    op.drop_table("deployment_revisions")
    op.drop_table("deployment_replicas")
    op.drop_table("replicas")
    with op.batch_alter_table("idempotency_answers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_answers_created_at"))

    op.drop_table("idempotency_answers")
    op.drop_table("deployments")
