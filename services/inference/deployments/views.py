"""Deployments as users see them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.inference.deployments import repository
from services.inference.deployments.models import Deployment, ReplicaStatus, Revision
from services.inference.runtime import Services
from shared.contracts.deployments import DeploymentOut, ReplicaOut, ReplicaState, RevisionOut
from shared.kit.database import db_now


def one(session: Session, services: Services, deployment: Deployment) -> DeploymentOut:
    """A single deployment."""
    (shown,) = many(session, services, [deployment])
    return shown


def many(session: Session, services: Services, deployments: Sequence[Deployment]) -> list[DeploymentOut]:
    """Deployments in the order given."""
    living = repository.living(session, db_now(session) - timedelta(seconds=services.settings.replica_alive_s))
    newest = repository.newest_revisions(session, deployments)
    statuses = repository.statuses(session, deployments)
    return [_shown(services, each, newest[each.id], _replicas(each, living, statuses[each.id])) for each in deployments]


def revision(row: Revision) -> RevisionOut:
    """One generation."""
    return RevisionOut(
        generation=row.generation,
        **_plan(row),
        created_at=row.created_at,
        created_by=row.created_by,
        reason=row.reason,
    )


def _shown(services: Services, deployment: Deployment, newest: Revision, replicas: list[ReplicaOut]) -> DeploymentOut:
    return DeploymentOut(
        name=deployment.name,
        generation=newest.generation,
        **_plan(newest),
        created_at=deployment.created_at,
        updated_at=newest.created_at,
        updated_by=newest.created_by,
        reason=newest.reason,
        replicas=replicas,
        ready=bool(replicas) and all(replica.state is ReplicaState.READY for replica in replicas),
        shadow_report=services.shadows.report(deployment.name, newest.generation),
    )


def _plan(row: Revision) -> dict[str, object]:
    plan = repository.plan_of(row)
    return {"spec": plan.spec, "versions": list(plan.versions), "shadow": plan.shadow}


def _replicas(
    deployment: Deployment, living: Mapping[str, datetime], statuses: Mapping[str, ReplicaStatus]
) -> list[ReplicaOut]:
    return [_replica(name, seen_at, statuses.get(name), deployment.generation) for name, seen_at in living.items()]


def _replica(name: str, seen_at: datetime, status: ReplicaStatus | None, newest: int) -> ReplicaOut:
    if status is None:
        return ReplicaOut(replica=name, state=ReplicaState.LOADING, seen_at=seen_at)
    # What it says of an older generation is no news of this one.
    state = ReplicaState(status.state) if status.target == newest else ReplicaState.LOADING
    error = status.error if state is ReplicaState.FAILED else None
    return ReplicaOut(replica=name, state=state, generation=status.generation, error=error, seen_at=seen_at)
