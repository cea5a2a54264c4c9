"""Tables of deployments: what should be, what was, and what the replicas make of it."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from services.inference.database import InferenceBase
from shared.contracts.base import new_id
from shared.kit.database import now_expression


class Deployment(InferenceBase):
    """A deployment as it should be. A name that was deleted and given again is another deployment."""

    __tablename__ = "deployments"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    generation: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())


class Revision(InferenceBase):
    """One generation: the specification as it was given, and the versions that its aliases named then."""

    __tablename__ = "deployment_revisions"

    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    spec: Mapped[dict[str, Any]]
    versions: Mapped[list[Any]]
    """ResolvedPart each."""
    shadow: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(insert_default=now_expression())
    created_by: Mapped[str] = mapped_column(String(63))
    reason: Mapped[str] = mapped_column(String(255))


class DeploymentRollout(InferenceBase):
    """What was asked of the fleet service for one generation. It outlives its deployment until its rollout is stopped."""

    __tablename__ = "deployment_rollouts"

    deployment_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(63))
    """The rollout's."""
    rollout_id: Mapped[str | None] = mapped_column(String(64))
    """null: it may have been made, but no answer has told its id."""
    returns: Mapped[bool]
    """The rollout is the one before's, to be rolled back."""
    step: Mapped[str] = mapped_column(String(16))
    """RolloutStep."""
    error: Mapped[str | None] = mapped_column(Text)


class Replica(InferenceBase):
    """A process of the service. It is alive while it says so."""

    __tablename__ = "replicas"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(insert_default=now_expression())


class ReplicaStatus(InferenceBase):
    """What one process does for one deployment."""

    __tablename__ = "deployment_replicas"

    deployment_id: Mapped[str] = mapped_column(ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True)
    replica: Mapped[str] = mapped_column(ForeignKey("replicas.name", ondelete="CASCADE"), primary_key=True)
    target: Mapped[int]
    """The generation that ``state`` and ``error`` are about."""
    state: Mapped[str] = mapped_column(String(16))
    """ReplicaState."""
    generation: Mapped[int | None]
    """That it serves."""
    error: Mapped[str | None] = mapped_column(Text)
