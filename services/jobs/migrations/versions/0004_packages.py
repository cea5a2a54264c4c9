"""Packages.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from shared.kit.database import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "package_lines",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("last_release", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_package_lines")),
    )
    op.create_table(
        "packages",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("line", sa.String(length=63), nullable=False),
        sa.Column("release", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("manifest", sa.String(length=71), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("rpk", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_packages_job_id")),
        sa.ForeignKeyConstraint(["line"], ["package_lines.name"], name=op.f("fk_packages_line")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packages")),
        sa.UniqueConstraint("job_id", name=op.f("uq_packages_job_id")),
        sa.UniqueConstraint("line", "release", name=op.f("uq_packages_line_release")),
    )


def downgrade() -> None:
    op.drop_table("packages")
    op.drop_table("package_lines")
