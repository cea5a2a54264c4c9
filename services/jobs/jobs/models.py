"""Tables of jobs: the job itself, its events, the datasets and model versions that it reads, and leases of periodic work."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Enum, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.jobs.jobs.domain import Standing
from shared.contracts.base import new_id
from shared.contracts.jobs import EventType, JobError, JobKind, JobParent, JobState
from shared.kit.database import Base


def text_enum(kind: type[StrEnum]) -> Enum:
    """A column type for ``kind``: its values as text, so that a new member needs no migration."""
    return Enum(kind, native_enum=False, create_constraint=False, length=24, values_callable=lambda e: [m.value for m in e])


class Job(Base):
    """A job: the truth about it. State changes go through :func:`services.jobs.jobs.repository.move` alone."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    kind: Mapped[JobKind] = mapped_column(text_enum(JobKind))
    name: Mapped[str | None] = mapped_column(String(128))
    spec: Mapped[dict[str, Any]]
    owner: Mapped[str] = mapped_column(String(64), index=True)
    tags: Mapped[dict[str, str]]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    state: Mapped[JobState] = mapped_column(text_enum(JobState), default=JobState.QUEUED)
    attempt: Mapped[int] = mapped_column(default=0)
    lost_attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]

    dispatches: Mapped[int] = mapped_column(default=0)
    """Messages that the sweeper has sent since the job was queued; the interval to the next grows with it."""
    next_dispatch_at: Mapped[datetime | None]

    last_seq: Mapped[int] = mapped_column(default=0)
    last_report_no: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any] | None]
    checkpoint: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any]] = mapped_column(default=dict)
    outputs: Mapped[list[Any]] = mapped_column(default=list)
    mlflow_run_id: Mapped[str | None]

    parent_kind: Mapped[str | None] = mapped_column(String(16))
    parent_id: Mapped[str | None] = mapped_column(String(36))
    parent_part: Mapped[str | None] = mapped_column(String(128))
    parent_run_id: Mapped[str | None] = mapped_column(String(64))
    """MLflow run below which the job's own run is shown."""

    __table_args__ = (
        Index("ix_jobs_parent_kind_parent_id", "parent_kind", "parent_id"),
        Index("ix_jobs_state_lease_until", "state", "lease_until"),
        Index("ix_jobs_state_next_dispatch_at", "state", "next_dispatch_at"),
    )

    @property
    def parent(self) -> JobParent | None:
        """What the job is part of."""
        if self.parent_kind is None:
            return None
        return JobParent.model_validate({"kind": self.parent_kind, "id": self.parent_id, "part": self.parent_part})

    @property
    def standing(self) -> Standing:
        """The job as the rules see it."""
        error = JobError.model_validate(self.error) if self.error else None
        return Standing(state=self.state, attempt=self.attempt, lost_attempts=self.lost_attempts, error=error)


class JobEventRow(Base):
    """One event. ``seq`` counts from 1 without gaps within a job; old progress events are deleted later."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[EventType] = mapped_column(text_enum(EventType))
    at: Mapped[datetime]
    payload: Mapped[dict[str, Any]]

    __table_args__ = (Index("ix_job_events_type_at", "type", "at"),)


class JobDataset(Base):
    """A split that a job reads, in the order of its spec. Names are resolved when the job is submitted."""

    __tablename__ = "job_datasets"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # No foreign key: the row outlives a dataset that was deleted by force, to say which one it was.
    dataset_id: Mapped[str] = mapped_column(String(36), index=True)
    dataset_name: Mapped[str] = mapped_column(String(63))
    split: Mapped[str] = mapped_column(String(63))
    role: Mapped[str] = mapped_column(String(63))
    """What the job does with it: train, validation or dataset."""
    digest: Mapped[str | None] = mapped_column(String(71))
    """Of the dataset as a worker was given it; None before the first claim."""


class JobModel(Base):
    """A registered version that a job reads. An alias is resolved when the job is submitted."""

    __tablename__ = "job_models"
    __table_args__ = (Index("ix_job_models_name_version", "name", "version"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[str] = mapped_column(String(63), primary_key=True)
    """initial_model, teacher, models.0, models.1, ..."""
    name: Mapped[str] = mapped_column(String(63))
    version: Mapped[int]
    artifact_uri: Mapped[str]


class ServiceLease(Base):
    """Periodic work that one replica does at a time."""

    __tablename__ = "service_leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime]
    ticked_at: Mapped[datetime]
