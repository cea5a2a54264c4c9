"""The table of workers that have said hello."""

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from shared.kit.database import Base


class Worker(Base):
    """A worker process, by the name that it keeps over restarts."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    queues: Mapped[list[str]]
    slots: Mapped[int]
    busy: Mapped[int]
    host: Mapped[str]
    device: Mapped[str]
    versions: Mapped[dict[str, str]]
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime] = mapped_column(index=True)
