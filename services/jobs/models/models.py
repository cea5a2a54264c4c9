"""Table of models: what is to be registered or was. The registry itself is MLflow.

What a version came from is what its job read: `job_datasets` and `job_models`.
"""

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

    @property
    def is_registered(self) -> bool:
        """True while the version may be used."""
        return self.state == RegistrationState.REGISTERED
