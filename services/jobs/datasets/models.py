"""Table of datasets."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from shared.contracts.base import new_id
from shared.contracts.datasets import DatasetState
from shared.kit.database import Base, now_expression


class Dataset(Base):
    """A registered dataset. What import found is empty until it is ready."""

    __tablename__ = "datasets"
    __table_args__ = (CheckConstraint("state IN ('importing', 'ready', 'failed')", name="state"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    state: Mapped[DatasetState] = mapped_column(String(16), default=DatasetState.IMPORTING)
    source: Mapped[dict[str, Any]]
    split_rule: Mapped[dict[str, Any] | None]
    description: Mapped[str] = mapped_column(String(2000), default="")
    tags: Mapped[dict[str, str]] = mapped_column(default=dict)
    owner: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    import_job: Mapped[str | None] = mapped_column(String(36))

    digest: Mapped[str | None] = mapped_column(String(71), index=True)
    manifest: Mapped[str | None] = mapped_column(String(71))
    report: Mapped[str | None] = mapped_column(String(71))
    archive: Mapped[str | None] = mapped_column(String(71))
    """Blob of the files, of a generated or uploaded dataset."""
    splits: Mapped[dict[str, Any]] = mapped_column(default=dict)
    problems: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(String(4000))
