"""The table of events, which is the audit log too."""

from datetime import datetime
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase, Serial
from shared.kit.database import now_expression


class Event(FleetBase):
    """Something that happened. With an actor: what somebody did."""

    __tablename__ = "fleet_events"

    seq: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(insert_default=now_expression(), index=True)
    type: Mapped[str] = mapped_column(String(64))
    actor: Mapped[str | None] = mapped_column(String(63))
    """The key's name."""
    actor_key: Mapped[str | None] = mapped_column(String(36))
    rollout_id: Mapped[str | None] = mapped_column(String(36), index=True)
    camera_id: Mapped[str | None] = mapped_column(String(36), index=True)
    detail: Mapped[dict[str, Any]]
