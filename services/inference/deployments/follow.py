"""Deployments that go where their aliases go."""

import structlog

from services.inference.deployments import repository, resolving
from services.inference.deployments.converge import CONVERGE
from services.inference.deployments.domain import FOLLOWER, Wanted, follows, moved_reason
from services.inference.registry.errors import ModelsAway
from services.inference.runtime import Services
from shared.kit.database import begin_reading
from shared.kit.problems import InvalidRequest

log = structlog.get_logger(__name__)


def tick(services: Services) -> None:
    """Make a new generation of each deployment that follows an alias that moved; of several replicas one does."""
    with services.sessions.begin() as session:
        begin_reading(session)
        wanted = [each for each in repository.wanted(session) if follows(each.plan.spec)]
    for each in wanted:
        if services.stopping.is_set():
            return
        try:
            _follow(services, each)
        except ModelsAway as exc:
            log.warning("deployment.not_followed", deployment=each.name, error=exc.detail)
            return  # nor would it tell of the others
        except InvalidRequest as exc:  # the alias is gone, or names a package: what is served goes on
            log.warning("deployment.not_followed", deployment=each.name, error=exc.detail)


def _follow(services: Services, wanted: Wanted) -> None:
    plan = resolving.plan(services.store, wanted.plan.spec)
    if plan == wanted.plan:
        return
    reason = moved_reason(wanted.plan, plan)
    with services.sessions.begin() as session:
        moved = repository.advance(session, wanted.id, wanted.generation, plan, by=FOLLOWER, reason=reason)
    if moved:
        log.info("deployment.followed", deployment=wanted.name, generation=wanted.generation + 1, reason=reason)
        services.wake(CONVERGE)
