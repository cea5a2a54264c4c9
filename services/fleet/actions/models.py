"""Tables of actions: each camera's part in a rollout."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from services.fleet.database import FleetBase, Serial
from shared.kit.database import now_expression


class Action(FleetBase):
    """One camera, one package. Its id is what devices name it by.

    ``active`` from its release to its end: at most one per camera, which the database sees to.
    """

    __tablename__ = "actions"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(16))
    """ActionKind."""
    camera_id: Mapped[str] = mapped_column(ForeignKey("cameras.id", ondelete="CASCADE"))
    package_id: Mapped[str | None] = mapped_column(ForeignKey("packages.id"))
    """None of a restore to nothing."""
    previous_package_id: Mapped[str | None] = mapped_column(ForeignKey("packages.id"))
    """The camera's last good package when its turn came: where it returns to."""
    rollout_id: Mapped[str | None] = mapped_column(ForeignKey("rollouts.id", ondelete="CASCADE"))
    """None of one that was assigned by hand."""
    phase: Mapped[int | None]
    """None also of one whose place a later try has taken."""
    rank: Mapped[int] = mapped_column(BigInteger, default=0)
    """The camera's place in the rollout: a hash of both."""
    priority: Mapped[int] = mapped_column(default=50)
    restores_id: Mapped[int | None] = mapped_column(ForeignKey("actions.id", ondelete="CASCADE"))
    state: Mapped[str] = mapped_column(String(16))
    """ActionState."""
    message: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=False)
    forced: Mapped[bool] = mapped_column(default=True)
    """hawkBit's: false leaves it to the device when."""
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    released_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]
    succeeded_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_actions_active_camera",
            "camera_id",
            unique=True,
            sqlite_where=text("active"),
            postgresql_where=text("active"),
        ),
        Index("ix_actions_standing", "rollout_id", "phase", "kind", "state", "active"),
        # Those whose turn is still to come, in the order in which it comes.
        Index(
            "ix_actions_waiting",
            "rollout_id",
            "kind",
            "phase",
            "rank",
            sqlite_where=text("state = 'pending' AND NOT active"),
            postgresql_where=text("state = 'pending' AND NOT active"),
        ),
        Index("ix_actions_camera_id_id", "camera_id", "id"),
        Index("ix_actions_restores_id", "restores_id"),
    )


class ActionHistory(FleetBase):
    """Every state of an action, and what the device said."""

    __tablename__ = "action_history"

    id: Mapped[int] = mapped_column(Serial, primary_key=True, autoincrement=True)
    action_id: Mapped[int] = mapped_column(ForeignKey("actions.id", ondelete="CASCADE"), index=True)
    at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    state: Mapped[str] = mapped_column(String(16))
    message: Mapped[str] = mapped_column(Text, default="")
    detail: Mapped[dict[str, Any]]
