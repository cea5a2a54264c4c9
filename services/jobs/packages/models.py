"""Tables of packages: how far each line has counted, and every package that was signed."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from shared.contracts.base import new_id
from shared.contracts.packages import RpkState
from shared.kit.database import Base, now_expression


class PackageLine(Base):
    """A model line. Its row is what two jobs that finish at once wait for."""

    __tablename__ = "package_lines"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    last_release: Mapped[int]
    """Never given a second time, also if its package is deleted."""


class Package(Base):
    """A signed package, whose bytes are a blob."""

    __tablename__ = "packages"
    __table_args__ = (UniqueConstraint("line", "release"), UniqueConstraint("job_id"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    line: Mapped[str] = mapped_column(ForeignKey("package_lines.name"))
    release: Mapped[int]
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    model: Mapped[str] = mapped_column(String(128))
    version: Mapped[int]
    digest: Mapped[str] = mapped_column(String(71))
    manifest: Mapped[str] = mapped_column(String(71))
    size_bytes: Mapped[int]
    rpk: Mapped[RpkState] = mapped_column(String(16))
    key: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
