"""Tables of what hawkBit's management API has and the fleet has not: modules, their artifacts, sets, and its settings.

Their ids are integers, as its clients expect.
"""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase, Serial
from shared.kit.database import now_expression


class SoftwareModule(FleetBase):
    """Artifacts that belong together. A deleted one stays as a row while sets were made of it."""

    __tablename__ = "hawkbit_modules"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(128))
    """The DDI chunk of its artifacts."""
    version: Mapped[str] = mapped_column(String(64))
    type: Mapped[str] = mapped_column(String(64))
    """Key of a ModuleType."""
    description: Mapped[str] = mapped_column(String(512))
    vendor: Mapped[str] = mapped_column(String(256))
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    created_by: Mapped[str] = mapped_column(String(63))
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_hawkbit_modules_name_version_type",
            "name",
            "version",
            "type",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )


class Artifact(FleetBase):
    """A file of a module; its bytes are the blob sha256:<sha256>."""

    __tablename__ = "hawkbit_artifacts"
    __table_args__ = (UniqueConstraint("module_id", "filename"),)

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    module_id: Mapped[int] = mapped_column(ForeignKey("hawkbit_modules.id", ondelete="CASCADE"))
    filename: Mapped[str] = mapped_column(String(256))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    sha1: Mapped[str] = mapped_column(String(40))
    md5: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    created_by: Mapped[str] = mapped_column(String(63))


class DistributionSet(FleetBase):
    """A package of kind software under the number that hawkBit's clients know it by."""

    __tablename__ = "hawkbit_sets"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"), unique=True)
    type: Mapped[str] = mapped_column(String(64))
    """Key of a SetType."""
    description: Mapped[str] = mapped_column(String(512))


class SetModule(FleetBase):
    """A module of a set."""

    __tablename__ = "hawkbit_set_modules"

    set_id: Mapped[int] = mapped_column(ForeignKey("hawkbit_sets.id", ondelete="CASCADE"), primary_key=True)
    module_id: Mapped[int] = mapped_column(ForeignKey("hawkbit_modules.id"), primary_key=True, index=True)


class TargetName(FleetBase):
    """What hawkBit's clients call a camera beside its controller id. A camera without a row is called by that."""

    __tablename__ = "hawkbit_targets"

    camera_id: Mapped[str] = mapped_column(ForeignKey("cameras.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(String(512))


class Config(FleetBase):
    """A setting that was changed; the others are as they are by default."""

    __tablename__ = "hawkbit_configs"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(64))
    """JSON."""
    changed_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    changed_by: Mapped[str] = mapped_column(String(63))
