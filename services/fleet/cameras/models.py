"""Tables of cameras, groups and what lets devices in."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase
from shared.contracts.base import new_id
from shared.kit.database import now_expression


class Camera(FleetBase):
    """A device. One that is deleted or replaced stays as a row, for what it did; its controller id is free again."""

    __tablename__ = "cameras"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    controller_id: Mapped[str] = mapped_column(String(128))
    format: Mapped[str] = mapped_column(String(16))
    """CameraFormat."""
    labels: Mapped[dict[str, str]]
    attributes: Mapped[dict[str, str]]
    attributes_wanted: Mapped[bool] = mapped_column(default=True)
    """The device is asked for them at its next poll."""
    token_hash: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of its TargetToken, as hex."""
    provisioned_by: Mapped[str | None] = mapped_column(ForeignKey("provisioning_tokens.id"))
    current_package_id: Mapped[str | None] = mapped_column(ForeignKey("packages.id"))
    last_good_package_id: Mapped[str | None] = mapped_column(ForeignKey("packages.id"))
    """That it is returned to: the newest that outlived its phase's soak, that it was restored to, or was given by hand."""
    telemetry: Mapped[dict[str, Any] | None]
    health: Mapped[str] = mapped_column(String(16), default="unknown")
    """HealthState."""
    health_reason: Mapped[str] = mapped_column(Text, default="")
    registered_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    registered_by: Mapped[str] = mapped_column(String(63))
    deleted_at: Mapped[datetime | None]
    replaced_by_id: Mapped[str | None] = mapped_column(ForeignKey("cameras.id"))

    __table_args__ = (
        Index(
            "uq_cameras_controller_id",
            "controller_id",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )


class CameraLabel(FleetBase):
    """A camera's labels once more, for selectors: written together with ``Camera.labels``."""

    __tablename__ = "camera_labels"
    __table_args__ = (Index(None, "key", "value"),)

    camera_id: Mapped[str] = mapped_column(ForeignKey("cameras.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(String(63), primary_key=True)
    value: Mapped[str] = mapped_column(String(63))


class Group(FleetBase):
    """Cameras by their labels, and when they may be changed."""

    __tablename__ = "groups"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    selector: Mapped[str] = mapped_column(String(1024))
    description: Mapped[str] = mapped_column(String(500))
    time_zone: Mapped[str] = mapped_column(String(64))
    maintenance: Mapped[list[Any]]
    """MaintenanceWindow each."""
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    updated_at: Mapped[datetime] = mapped_column(insert_default=now_expression())


class ProvisioningToken(FleetBase):
    """Lets devices register themselves."""

    __tablename__ = "provisioning_tokens"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    labels: Mapped[dict[str, str]]
    format: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[datetime | None]
    max_cameras: Mapped[int]
    cameras: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    created_by: Mapped[str] = mapped_column(String(63))
    revoked_at: Mapped[datetime | None]
