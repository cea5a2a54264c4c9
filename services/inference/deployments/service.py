"""Decisions on deployments."""

from typing import Final

from sqlalchemy.orm import Session

from services.inference.deployments import repository, resolving
from services.inference.deployments.domain import AnyPlan, FleetPlan, Plan, etag_of, generation_of
from services.inference.deployments.errors import DeploymentChanged, GenerationNotFound, OtherTarget, PreconditionFailed
from services.inference.deployments.models import Deployment, Revision
from services.inference.engine.served import DeploymentNotFound
from services.inference.runtime import Services
from shared.contracts.deployments import DeploymentIn, FleetTarget, RollbackIn

_KINDS: Final = {Plan: "CPUs", FleetPlan: "a fleet"}


def put(services: Services, name: str, spec: DeploymentIn, *, by: str, if_match: str | None) -> bool:
    """Make it so, from the commit on; True if the deployment is new.

    What it is already makes no new generation. InvalidRequest for references that name nothing, ModelsAway,
    PreconditionFailed, OtherTarget.
    """
    plan = FleetPlan(spec=spec) if isinstance(spec, FleetTarget) else resolving.plan(services.store, spec)
    services.convergence.forget(name)  # whoever puts the same again has mended what was wrong
    with services.sessions.begin() as session:
        return _put(session, name, plan, by=by, if_match=if_match)


def _put(session: Session, name: str, plan: AnyPlan, *, by: str, if_match: str | None) -> bool:
    deployment = repository.locked(session, name)
    _check_match(deployment, if_match)
    if deployment is None:
        if repository.create(session, name, plan, by=by, reason="put"):
            return True
        deployment = existing(repository.locked(session, name), name)  # another was quicker: this comes after it
    _change(session, deployment, plan, by=by, reason="put")
    return False


def rollback(session: Session, name: str, body: RollbackIn, *, by: str) -> Deployment:
    """Serve what an earlier generation served, in a new one that follows no alias. DeploymentNotFound, GenerationNotFound."""
    deployment = existing(repository.locked(session, name), name)
    generation = body.generation or deployment.generation - 1
    before = repository.revision(session, deployment.id, generation)
    if before is None:
        raise GenerationNotFound(f"The deployment {name!r} has no generation {generation}.", generation=generation)
    if generation != deployment.generation:
        plan = repository.plan_of(before).pinned()
        _change(session, deployment, plan, by=by, reason=f"rollback to {generation}")
    return existing(repository.find(session, name), name)


def delete(session: Session, name: str, *, if_match: str | None) -> None:
    """Raises DeploymentNotFound, PreconditionFailed."""
    deployment = existing(repository.locked(session, name), name)
    _check_match(deployment, if_match)
    repository.remove(session, deployment.id)


def delete_on_cpus(session: Session, name: str) -> None:
    """Delete what answers requests; a deployment on a fleet is none, so DeploymentNotFound for it as well."""
    deployment = existing(repository.locked(session, name), name)
    current = repository.revision(session, deployment.id, deployment.generation)
    if current is None or not isinstance(repository.plan_of(current), Plan):
        raise DeploymentNotFound(f"There is no deployment named {name!r} that answers requests.", deployment=name)
    repository.remove(session, deployment.id)


def get(session: Session, name: str) -> Deployment:
    """Raises DeploymentNotFound."""
    return existing(repository.find(session, name), name)


def existing(deployment: Deployment | None, name: str) -> Deployment:
    """Raises DeploymentNotFound for None."""
    if deployment is None:
        raise DeploymentNotFound(f"There is no deployment named {name!r}.", deployment=name)
    return deployment


def _change(session: Session, deployment: Deployment, plan: AnyPlan, *, by: str, reason: str) -> None:
    current = repository.revision(session, deployment.id, deployment.generation)
    if current is not None and _same(deployment, current, plan):
        return
    if not repository.advance(session, deployment.id, deployment.generation, plan, by=by, reason=reason):
        raise DeploymentChanged(f"The deployment {deployment.name!r} was changed by somebody else at the same moment.")


def _same(deployment: Deployment, current: Revision, plan: AnyPlan) -> bool:
    before = repository.plan_of(current)
    if type(before) is not type(plan):
        raise OtherTarget(f"The deployment {deployment.name!r} is on {_KINDS[type(before)]}, not on {_KINDS[type(plan)]}.")
    return before == plan


def _check_match(deployment: Deployment | None, if_match: str | None) -> None:
    if if_match is None or (if_match.strip() == "*" and deployment is not None):
        return
    if deployment is None or generation_of(if_match) != deployment.generation:
        found = f"at generation {deployment.generation}" if deployment else "not there"
        etag = etag_of(deployment.generation) if deployment else None
        raise PreconditionFailed(f"The deployment is {found}; If-Match says {if_match}.", etag=etag)
