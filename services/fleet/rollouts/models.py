"""Tables of rollouts, their phases, and sampled masks."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase, Serial
from shared.contracts.base import new_id
from shared.kit.database import now_expression


class Rollout(FleetBase):
    """A campaign."""

    __tablename__ = "rollouts"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(63), index=True)
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"))
    spec: Mapped[dict[str, Any]]
    """RolloutIn."""
    selector: Mapped[str | None] = mapped_column(String(1024))
    """Whom it is for: of the group when it was made, so that later changes of the group do not widen it."""
    state: Mapped[str] = mapped_column(String(24), index=True)
    """RolloutState."""
    reason: Mapped[str] = mapped_column(Text, default="")
    priority: Mapped[int]
    planned: Mapped[bool] = mapped_column(default=False)
    """All its cameras have an action."""
    budget: Mapped[dict[str, Any]]
    """What the rate limit remembers between ticks."""
    next_tick_at: Mapped[datetime] = mapped_column(insert_default=now_expression(), index=True)
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    created_by: Mapped[str] = mapped_column(String(63))
    approved_by: Mapped[str | None] = mapped_column(String(63))
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class RolloutPhase(FleetBase):
    """A slice of a rollout; numbered from 1."""

    __tablename__ = "rollout_phases"

    rollout_id: Mapped[str] = mapped_column(ForeignKey("rollouts.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[str] = mapped_column(String(24))
    """PhaseState."""
    approved_by: Mapped[str | None] = mapped_column(String(63))
    started_at: Mapped[datetime | None]
    soaking_since: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Sample(FleetBase):
    """A window that a camera saw, the mask that it made of it, and what the reference model makes of it."""

    __tablename__ = "samples"
    __table_args__ = (Index(None, "rollout_id", "phase"), Index(None, "agreement_at"))

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    camera_id: Mapped[str] = mapped_column(ForeignKey("cameras.id", ondelete="CASCADE"), index=True)
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id"))
    rollout_id: Mapped[str | None] = mapped_column(ForeignKey("rollouts.id", ondelete="CASCADE"))
    phase: Mapped[int | None]
    window: Mapped[bytes]
    mask: Mapped[bytes]
    confidence: Mapped[float | None]
    agreement: Mapped[float | None]
    """IoU of the mask with the reference model's; null until it was compared, and where it could not be."""
    agreement_at: Mapped[datetime | None]
    received_at: Mapped[datetime] = mapped_column(insert_default=now_expression(), index=True)
