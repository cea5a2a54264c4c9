"""Deployments as users see them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from services.inference.deployments import repository, rollouts
from services.inference.deployments.domain import Plan, RolloutStep
from services.inference.deployments.models import Deployment, ReplicaStatus, Revision
from services.inference.deployments.models import DeploymentRollout as RolloutRow
from services.inference.runtime import Services
from shared.contracts.deployments import DeploymentOut, DeploymentRollout, ReplicaOut, ReplicaState, RevisionOut
from shared.kit.database import db_now


def one(session: Session, services: Services, deployment: Deployment) -> DeploymentOut:
    """A single deployment."""
    (shown,) = many(session, services, [deployment])
    return shown


def many(session: Session, services: Services, deployments: Sequence[Deployment]) -> list[DeploymentOut]:
    """Deployments in the order given. What the fleet service would say of them is left open."""
    living = repository.living(session, db_now(session) - timedelta(seconds=services.settings.replica_alive_s))
    newest = repository.newest_revisions(session, deployments)
    statuses = repository.statuses(session, deployments)
    asked = rollouts.of_newest(session, deployments)
    shown = []
    for each in deployments:
        if isinstance(repository.plan_of(newest[each.id]), Plan):
            shown.append(_on_cpus(services, each, newest[each.id], _replicas(each, living, statuses[each.id])))
        else:
            shown.append(_on_fleet(each, newest[each.id], asked.get(each.id)))
    return shown


def revision(row: Revision) -> RevisionOut:
    """One generation."""
    return RevisionOut(
        generation=row.generation,
        **_plan(row),
        created_at=row.created_at,
        created_by=row.created_by,
        reason=row.reason,
    )


def _on_cpus(services: Services, deployment: Deployment, newest: Revision, replicas: list[ReplicaOut]) -> DeploymentOut:
    return DeploymentOut(
        **_head(deployment, newest),
        replicas=replicas,
        ready=bool(replicas) and all(replica.state is ReplicaState.READY for replica in replicas),
        shadow_report=services.shadows.report(deployment.name, newest.generation),
    )


def _on_fleet(deployment: Deployment, newest: Revision, asked: RolloutRow | None) -> DeploymentOut:
    if asked is None:
        rollout = DeploymentRollout(reason="The fleet service has not been asked yet.")
    else:
        begun = asked.step == RolloutStep.BEGUN
        rollout = DeploymentRollout(id=asked.rollout_id, returns=asked.returns, begun=begun, error=asked.error)
    return DeploymentOut(**_head(deployment, newest), rollout=rollout, ready=False)


def _head(deployment: Deployment, newest: Revision) -> dict[str, Any]:
    return {
        "name": deployment.name,
        "generation": newest.generation,
        **_plan(newest),
        "created_at": deployment.created_at,
        "updated_at": newest.created_at,
        "updated_by": newest.created_by,
        "reason": newest.reason,
    }


def _plan(row: Revision) -> dict[str, Any]:
    plan = repository.plan_of(row)
    if isinstance(plan, Plan):
        return {"spec": plan.spec, "versions": list(plan.versions), "shadow": plan.shadow}
    return {"spec": plan.spec, "versions": []}


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
