"""What was asked of the fleet service for deployments on fleets.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "deployment_rollouts",
        sa.Column("deployment_id", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("rollout_id", sa.String(length=64), nullable=True),
        sa.Column("returns", sa.Boolean(), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("deployment_id", "generation", name=op.f("pk_deployment_rollouts")),
    )


def downgrade() -> None:
    op.drop_table("deployment_rollouts")
