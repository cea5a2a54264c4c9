"""Table of corrected masks."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.inference.database import InferenceBase
from shared.contracts.base import new_id
from shared.kit.database import now_expression


class Feedback(InferenceBase):
    """A correction. Its image is a blob of the feedback store, shared by all corrections of that image."""

    __tablename__ = "feedback"
    __table_args__ = (Index(None, "deployment", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    deployment: Mapped[str] = mapped_column(String(63))
    model: Mapped[str | None] = mapped_column(String(300))
    image: Mapped[str] = mapped_column(String(71), index=True)
    """Digest."""
    format: Mapped[str] = mapped_column(String(4))
    """JPEG, PNG or WEBP: of the image's file."""
    width: Mapped[int]
    height: Mapped[int]
    prompt: Mapped[dict[str, Any]]
    counts: Mapped[str] = mapped_column(Text)
    area: Mapped[int]
    label: Mapped[str] = mapped_column(String(128))
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    created_by: Mapped[str] = mapped_column(String(63))
    expires_at: Mapped[datetime] = mapped_column(index=True)
