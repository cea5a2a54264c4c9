"""Tables of sweeps: the sweep and its trials."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from services.jobs.jobs.models import text_enum
from shared.contracts.base import new_id
from shared.contracts.pipelines import PipelineState, TrialState
from shared.kit.database import Base


class Sweep(Base):
    """A sweep. Whoever changes it or its trials holds its row's lock."""

    __tablename__ = "sweeps"
    __table_args__ = (Index("ix_sweeps_state", "state"), Index("ix_sweeps_run_closed", "run_closed"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(128))
    owner: Mapped[str] = mapped_column(String(64))
    tags: Mapped[dict[str, str]]
    base: Mapped[dict[str, Any]]
    search: Mapped[dict[str, Any]]
    objective: Mapped[dict[str, Any]]
    parallel: Mapped[int]
    max_failed: Mapped[int | None]
    total: Mapped[int]
    """Trials in all, if it comes to its end."""
    state: Mapped[PipelineState] = mapped_column(text_enum(PipelineState), default=PipelineState.RUNNING)
    error: Mapped[dict[str, Any] | None]
    waiting_for: Mapped[str | None]
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64))
    run_closed: Mapped[bool] = mapped_column(default=False)
    """True when the parent run in MLflow tells how the sweep ended."""
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class SweepTrial(Base):
    """One set of values and its job."""

    __tablename__ = "sweep_trials"
    __table_args__ = (Index("ix_sweep_trials_job_id", "job_id"),)

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 0."""
    chosen: Mapped[dict[str, Any]]
    """Values by field of the spec."""
    state: Mapped[TrialState] = mapped_column(text_enum(TrialState), default=TrialState.RUNNING)
    figure: Mapped[float | None]
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    error: Mapped[dict[str, Any] | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
