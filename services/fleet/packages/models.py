"""Tables of packages and of what is signed about them."""

from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase
from shared.contracts.base import new_id
from shared.kit.database import now_expression

ANY_FORMAT: Final = "any"
"""Of a file that every camera gets, whatever its own format."""


class Package(FleetBase):
    """What can be rolled out: ``ref`` is name/version, as picosam2/3."""

    __tablename__ = "packages"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(String(16))
    """FleetPackageKind."""
    name: Mapped[str] = mapped_column(String(128))
    """Of a model's package: its line."""
    version: Mapped[str] = mapped_column(String(64))
    """Of a model's package: its release."""
    release: Mapped[int | None]
    digest: Mapped[str | None] = mapped_column(String(71))
    """Of manifest.json."""
    manifest: Mapped[dict[str, Any] | None]
    key_id: Mapped[str | None] = mapped_column(String(16))
    imported_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    imported_by: Mapped[str] = mapped_column(String(63))
    deleted_at: Mapped[datetime | None]
    """Deleted packages are offered no more; the row stays for what refers to it."""

    __table_args__ = (
        Index(
            "uq_packages_name_version",
            "name",
            "version",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
    )

    @property
    def ref(self) -> str:
        """As people name it."""
        return f"{self.name}/{self.version}"


class PackageFile(FleetBase):
    """A file that devices download; its bytes are the blob sha256:<sha256>."""

    __tablename__ = "package_files"
    __table_args__ = (UniqueConstraint("package_id", "part", "filename"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    package_id: Mapped[str] = mapped_column(ForeignKey("packages.id", ondelete="CASCADE"))
    part: Mapped[str] = mapped_column(String(128))
    """The DDI chunk that it belongs to."""
    filename: Mapped[str] = mapped_column(String(256))
    format: Mapped[str] = mapped_column(String(16))
    """Which cameras get it: a CameraFormat, or `any`."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    sha1: Mapped[str] = mapped_column(String(40))
    md5: Mapped[str] = mapped_column(String(32))


class Statement(FleetBase):
    """A signed return of a line from one release to an older one: kept, since a thousand cameras need the same."""

    __tablename__ = "release_statements"

    line: Mapped[str] = mapped_column(String(63), primary_key=True)
    from_release: Mapped[int] = mapped_column(primary_key=True)
    to_release: Mapped[int] = mapped_column(primary_key=True)
    envelope: Mapped[dict[str, Any]]
    """SignedStatement, as the jobs service made it."""
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
