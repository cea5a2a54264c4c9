"""Cameras, packages, rollouts.

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
        "fleet_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=63), nullable=True),
        sa.Column("actor_key", sa.String(length=36), nullable=True),
        sa.Column("rollout_id", sa.String(length=36), nullable=True),
        sa.Column("camera_id", sa.String(length=36), nullable=True),
        sa.Column("detail", Json, nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_fleet_events")),
    )
    with op.batch_alter_table("fleet_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_fleet_events_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_fleet_events_camera_id"), ["camera_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_fleet_events_rollout_id"), ["rollout_id"], unique=False)

    op.create_table(
        "groups",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("selector", sa.String(length=1024), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=False),
        sa.Column("maintenance", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_groups")),
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
        "packages",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("release", sa.Integer(), nullable=True),
        sa.Column("digest", sa.String(length=71), nullable=True),
        sa.Column("manifest", Json, nullable=True),
        sa.Column("key_id", sa.String(length=16), nullable=True),
        sa.Column("imported_at", UtcDateTime(), nullable=False),
        sa.Column("imported_by", sa.String(length=63), nullable=False),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packages")),
    )
    with op.batch_alter_table("packages", schema=None) as batch_op:
        batch_op.create_index(
            "uq_packages_name_version",
            ["name", "version"],
            unique=True,
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        )

    op.create_table(
        "poll_epochs",
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_poll_epochs")),
    )
    op.create_table(
        "provisioning_tokens",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.Column("max_cameras", sa.Integer(), nullable=False),
        sa.Column("cameras", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=63), nullable=False),
        sa.Column("revoked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provisioning_tokens")),
        sa.UniqueConstraint("name", name=op.f("uq_provisioning_tokens_name")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_provisioning_tokens_token_hash")),
    )
    op.create_table(
        "release_statements",
        sa.Column("line", sa.String(length=63), nullable=False),
        sa.Column("from_release", sa.Integer(), nullable=False),
        sa.Column("to_release", sa.Integer(), nullable=False),
        sa.Column("envelope", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("line", "from_release", "to_release", name=op.f("pk_release_statements")),
    )
    op.create_table(
        "cameras",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("controller_id", sa.String(length=128), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("attributes", Json, nullable=False),
        sa.Column("attributes_wanted", sa.Boolean(), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=True),
        sa.Column("provisioned_by", sa.String(length=36), nullable=True),
        sa.Column("current_package_id", sa.String(length=36), nullable=True),
        sa.Column("last_good_package_id", sa.String(length=36), nullable=True),
        sa.Column("telemetry", Json, nullable=True),
        sa.Column("health", sa.String(length=16), nullable=False),
        sa.Column("health_reason", sa.Text(), nullable=False),
        sa.Column("registered_at", UtcDateTime(), nullable=False),
        sa.Column("registered_by", sa.String(length=63), nullable=False),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.Column("replaced_by_id", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(["current_package_id"], ["packages.id"], name=op.f("fk_cameras_current_package_id")),
        sa.ForeignKeyConstraint(["last_good_package_id"], ["packages.id"], name=op.f("fk_cameras_last_good_package_id")),
        sa.ForeignKeyConstraint(["provisioned_by"], ["provisioning_tokens.id"], name=op.f("fk_cameras_provisioned_by")),
        sa.ForeignKeyConstraint(["replaced_by_id"], ["cameras.id"], name=op.f("fk_cameras_replaced_by_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cameras")),
    )
    with op.batch_alter_table("cameras", schema=None) as batch_op:
        batch_op.create_index(
            "uq_cameras_controller_id",
            ["controller_id"],
            unique=True,
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        )

    op.create_table(
        "package_files",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("package_id", sa.String(length=36), nullable=False),
        sa.Column("part", sa.String(length=128), nullable=False),
        sa.Column("filename", sa.String(length=256), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("sha1", sa.String(length=40), nullable=False),
        sa.Column("md5", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_package_files_package_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_files")),
        sa.UniqueConstraint("package_id", "part", "filename", name=op.f("uq_package_files_package_id_part_filename")),
    )
    with op.batch_alter_table("package_files", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_package_files_sha256"), ["sha256"], unique=False)

    op.create_table(
        "rollouts",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("package_id", sa.String(length=36), nullable=False),
        sa.Column("spec", Json, nullable=False),
        sa.Column("selector", sa.String(length=1024), nullable=True),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("planned", sa.Boolean(), nullable=False),
        sa.Column("budget", Json, nullable=False),
        sa.Column("next_tick_at", UtcDateTime(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("created_by", sa.String(length=63), nullable=False),
        sa.Column("approved_by", sa.String(length=63), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_rollouts_package_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    with op.batch_alter_table("rollouts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rollouts_name"), ["name"], unique=False)
        batch_op.create_index(batch_op.f("ix_rollouts_next_tick_at"), ["next_tick_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_rollouts_state"), ["state"], unique=False)

    op.create_table(
        "actions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("camera_id", sa.String(length=36), nullable=False),
        sa.Column("package_id", sa.String(length=36), nullable=True),
        sa.Column("previous_package_id", sa.String(length=36), nullable=True),
        sa.Column("rollout_id", sa.String(length=36), nullable=True),
        sa.Column("phase", sa.Integer(), nullable=True),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("restores_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("released_at", UtcDateTime(), nullable=True),
        sa.Column("deadline_at", UtcDateTime(), nullable=True),
        sa.Column("cancel_requested_at", UtcDateTime(), nullable=True),
        sa.Column("succeeded_at", UtcDateTime(), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_actions_camera_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_actions_package_id")),
        sa.ForeignKeyConstraint(["previous_package_id"], ["packages.id"], name=op.f("fk_actions_previous_package_id")),
        sa.ForeignKeyConstraint(["restores_id"], ["actions.id"], name=op.f("fk_actions_restores_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_actions_rollout_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
    )
    with op.batch_alter_table("actions", schema=None) as batch_op:
        batch_op.create_index("ix_actions_camera_id_id", ["camera_id", "id"], unique=False)
        batch_op.create_index("ix_actions_restores_id", ["restores_id"], unique=False)
        batch_op.create_index("ix_actions_standing", ["rollout_id", "phase", "kind", "state", "active"], unique=False)
        batch_op.create_index(
            "ix_actions_waiting",
            ["rollout_id", "kind", "phase", "rank"],
            unique=False,
            sqlite_where=sa.text("state = 'pending' AND NOT active"),
            postgresql_where=sa.text("state = 'pending' AND NOT active"),
        )
        batch_op.create_index(
            "uq_actions_active_camera",
            ["camera_id"],
            unique=True,
            sqlite_where=sa.text("active"),
            postgresql_where=sa.text("active"),
        )

    op.create_table(
        "camera_contacts",
        sa.Column("camera_id", sa.String(length=36), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_camera_contacts_camera_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("camera_id", name=op.f("pk_camera_contacts")),
    )
    op.create_table(
        "camera_labels",
        sa.Column("camera_id", sa.String(length=36), nullable=False),
        sa.Column("key", sa.String(length=63), nullable=False),
        sa.Column("value", sa.String(length=63), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_camera_labels_camera_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("camera_id", "key", name=op.f("pk_camera_labels")),
    )
    with op.batch_alter_table("camera_labels", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_camera_labels_key_value"), ["key", "value"], unique=False)

    op.create_table(
        "rollout_phases",
        sa.Column("rollout_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=24), nullable=False),
        sa.Column("approved_by", sa.String(length=63), nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("soaking_since", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_rollout_phases_rollout_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("rollout_id", "number", name=op.f("pk_rollout_phases")),
    )
    op.create_table(
        "samples",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("camera_id", sa.String(length=36), nullable=False),
        sa.Column("package_id", sa.String(length=36), nullable=False),
        sa.Column("rollout_id", sa.String(length=36), nullable=True),
        sa.Column("phase", sa.Integer(), nullable=True),
        sa.Column("window", sa.LargeBinary(), nullable=False),
        sa.Column("mask", sa.LargeBinary(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("agreement", sa.Double(), nullable=True),
        sa.Column("agreement_at", UtcDateTime(), nullable=True),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["camera_id"], ["cameras.id"], name=op.f("fk_samples_camera_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["package_id"], ["packages.id"], name=op.f("fk_samples_package_id")),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"], name=op.f("fk_samples_rollout_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
    )
    with op.batch_alter_table("samples", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_samples_agreement_at"), ["agreement_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_samples_camera_id"), ["camera_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_samples_received_at"), ["received_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_samples_rollout_id_phase"), ["rollout_id", "phase"], unique=False)

    op.create_table(
        "action_history",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("action_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("detail", Json, nullable=False),
        sa.ForeignKeyConstraint(["action_id"], ["actions.id"], name=op.f("fk_action_history_action_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_action_history")),
    )
    with op.batch_alter_table("action_history", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_action_history_action_id"), ["action_id"], unique=False)

    epochs = sa.table("poll_epochs", sa.column("bucket", sa.Integer), sa.column("epoch", sa.Integer))
    op.bulk_insert(epochs, [{"bucket": bucket, "epoch": 0} for bucket in range(1024)])


def downgrade() -> None:
    with op.batch_alter_table("action_history", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_action_history_action_id"))

    op.drop_table("action_history")
    with op.batch_alter_table("samples", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_samples_rollout_id_phase"))
        batch_op.drop_index(batch_op.f("ix_samples_received_at"))
        batch_op.drop_index(batch_op.f("ix_samples_camera_id"))
        batch_op.drop_index(batch_op.f("ix_samples_agreement_at"))

    op.drop_table("samples")
    op.drop_table("rollout_phases")
    with op.batch_alter_table("camera_labels", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_camera_labels_key_value"))

    op.drop_table("camera_labels")
    op.drop_table("camera_contacts")
    with op.batch_alter_table("actions", schema=None) as batch_op:
        batch_op.drop_index("uq_actions_active_camera", sqlite_where=sa.text("active"), postgresql_where=sa.text("active"))
        batch_op.drop_index(
            "ix_actions_waiting",
            sqlite_where=sa.text("state = 'pending' AND NOT active"),
            postgresql_where=sa.text("state = 'pending' AND NOT active"),
        )
        batch_op.drop_index("ix_actions_standing")
        batch_op.drop_index("ix_actions_restores_id")
        batch_op.drop_index("ix_actions_camera_id_id")

    op.drop_table("actions")
    with op.batch_alter_table("rollouts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_rollouts_state"))
        batch_op.drop_index(batch_op.f("ix_rollouts_next_tick_at"))
        batch_op.drop_index(batch_op.f("ix_rollouts_name"))

    op.drop_table("rollouts")
    with op.batch_alter_table("package_files", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_package_files_sha256"))

    op.drop_table("package_files")
    with op.batch_alter_table("cameras", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_cameras_controller_id",
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        )

    op.drop_table("cameras")
    op.drop_table("release_statements")
    op.drop_table("provisioning_tokens")
    op.drop_table("poll_epochs")
    with op.batch_alter_table("packages", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_packages_name_version",
            sqlite_where=sa.text("deleted_at IS NULL"),
            postgresql_where=sa.text("deleted_at IS NULL"),
        )

    op.drop_table("packages")
    with op.batch_alter_table("idempotency_answers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_answers_created_at"))

    op.drop_table("idempotency_answers")
    op.drop_table("groups")
    with op.batch_alter_table("fleet_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_fleet_events_rollout_id"))
        batch_op.drop_index(batch_op.f("ix_fleet_events_camera_id"))
        batch_op.drop_index(batch_op.f("ix_fleet_events_at"))

    op.drop_table("fleet_events")
