"""Tables of pipelines: the pipeline, its steps, and the jobs that were made for them."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.jobs.jobs.models import text_enum
from shared.contracts.base import new_id
from shared.contracts.jobs import JobKind
from shared.contracts.pipelines import PipelineState, StepState
from shared.kit.database import Base


class Pipeline(Base):
    """A pipeline. Whoever changes it or its steps holds its row's lock."""

    __tablename__ = "pipelines"
    __table_args__ = (Index("ix_pipelines_state", "state"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(128))
    template: Mapped[str | None] = mapped_column(String(63))
    owner: Mapped[str] = mapped_column(String(64))
    tags: Mapped[dict[str, str]]
    parameters: Mapped[dict[str, Any]]
    state: Mapped[PipelineState] = mapped_column(text_enum(PipelineState), default=PipelineState.RUNNING)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class PipelineStep(Base):
    """A step: what it was told, and where it stands."""

    __tablename__ = "pipeline_steps"

    pipeline_id: Mapped[str] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    position: Mapped[int]
    """In an order in which the steps could run."""
    kind: Mapped[JobKind] = mapped_column(text_enum(JobKind))
    spec: Mapped[dict[str, Any]]
    """As it was written, with references."""
    after: Mapped[list[str]]
    gates: Mapped[list[Any]]
    state: Mapped[StepState] = mapped_column(text_enum(StepState), default=StepState.WAITING)
    runs: Mapped[int] = mapped_column(default=0)
    """Jobs made for it so far."""
    take_up: Mapped[bool] = mapped_column(default=False)
    """After a retry: its newest job may go on from its checkpoint, if it would be told the same again."""
    error: Mapped[dict[str, Any] | None]
    waiting_for: Mapped[str | None]
    """Why it could not start yet although it is its turn."""
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class PipelineRun(Base):
    """The job of a step's ``run``, from 1. The key makes sure that there is one."""

    __tablename__ = "pipeline_runs"
    __table_args__ = (Index("ix_pipeline_runs_job_id", "job_id"),)

    pipeline_id: Mapped[str] = mapped_column(ForeignKey("pipelines.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[str] = mapped_column(String(63), primary_key=True)
    run: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
