"""Tables of polling: who was heard of, and what has changed for whom."""

from datetime import datetime

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase


class Contact(FleetBase):
    """When a camera was heard of. A table of its own: it is written all the time, and the rest of a camera hardly ever."""

    __tablename__ = "camera_contacts"

    camera_id: Mapped[str] = mapped_column(ForeignKey("cameras.id", ondelete="CASCADE"), primary_key=True)
    seen_at: Mapped[datetime | None]
    """None: never yet."""
    address: Mapped[str] = mapped_column(String(64), default="")


class Epoch(FleetBase):
    """Counts changes of what the cameras of a bucket are answered, so that replicas forget what they remember of them."""

    __tablename__ = "poll_epochs"

    bucket: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(default=0)
