"""Tables of prepared window shards."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from shared.kit.database import Base, now_expression


class ShardSetRow(Base):
    """One prepared set, keyed by dataset digest, window policy and the preparing code's version."""

    __tablename__ = "shard_sets"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    windows: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    rows: Mapped[list["ShardFile"]] = relationship(lazy="raise", cascade="all, delete-orphan", order_by="ShardFile.name")

    @property
    def files(self) -> dict[str, str]:
        """File name to blob."""
        return {row.name: row.digest for row in self.rows}


class ShardFile(Base):
    """One file of a set."""

    __tablename__ = "shard_files"

    key: Mapped[str] = mapped_column(ForeignKey("shard_sets.key", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    digest: Mapped[str] = mapped_column(String(71), index=True)
