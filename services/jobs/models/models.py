"""Tables of models: what is to be registered or was, and what each version came from. The registry itself is MLflow."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.contracts.base import new_id
from shared.kit.database import Base, Json, now_expression


class RegistrationState(StrEnum):
    """pending -> registered -> deleting -> deleted, or pending -> failed."""

    PENDING = "pending"
    """Promised by a finished job; MLflow has not answered yet."""
    REGISTERED = "registered"
    FAILED = "failed"
    """MLflow refused it for good: ``error`` says why."""
    DELETING = "deleting"
    """Nobody may begin to use it; MLflow has not confirmed yet."""
    DELETED = "deleted"


class ModelVersion(Base):
    """A model that a finished job made. One row per job and output: the outbox of the registry, then its memory."""

    __tablename__ = "model_versions"
    __table_args__ = (
        UniqueConstraint("job_id", "output"),
        UniqueConstraint("name", "version"),
        CheckConstraint("state IN ('pending', 'registered', 'failed', 'deleting', 'deleted')", name="state"),
        Index("ix_model_versions_state_next_attempt_at", "state", "next_attempt_at"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    output: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(63))
    """Of the registered model."""
    version: Mapped[int | None]
    state: Mapped[RegistrationState] = mapped_column(String(16), default=RegistrationState.PENDING)
    run_id: Mapped[str] = mapped_column(String(64))
    artifact_path: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(2000), default="")
    tags: Mapped[dict[str, str]] = mapped_column(default=dict)
    metrics: Mapped[dict[str, float]] = mapped_column(Json, default=dict)
    error: Mapped[str | None] = mapped_column(String(2000))
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime]
    """When a pending row is due; moved on by whoever takes it, so that replicas do not meet."""
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())


class ParentKind(StrEnum):
    """What a version can come from."""

    DATASET = "dataset"
    MODEL = "model"


class LineageEdge(Base):
    """``version_id`` was made from ``parent``: a dataset's id, or ``name/version`` of a model."""

    __tablename__ = "lineage_edges"
    __table_args__ = (
        CheckConstraint("parent_kind IN ('dataset', 'model')", name="parent_kind"),
        Index("ix_lineage_edges_parent_kind_parent", "parent_kind", "parent"),
    )

    version_id: Mapped[str] = mapped_column(ForeignKey("model_versions.id", ondelete="CASCADE"), primary_key=True)
    parent_kind: Mapped[ParentKind] = mapped_column(String(16), primary_key=True)
    parent: Mapped[str] = mapped_column(String(128), primary_key=True)
