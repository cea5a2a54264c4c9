"""From deployments on fleets to rollouts of the fleet service.

Each step may be repeated: a rollout is made under an Idempotency-Key of its generation's own, as a draft, and started only
when its id is kept. So a crash anywhere, and any number of replicas, make one rollout per generation.
"""

from typing import Final

import structlog
from sqlalchemy.orm import Session

from services.inference.deployments import repository, rollouts
from services.inference.deployments.domain import FleetPlan, Numbered, RolloutStep, WantedFleet, takes_back
from services.inference.deployments.models import Deployment, DeploymentRollout
from services.inference.runtime import Services
from shared.client.errors import ClientError, NotReachable, ProblemError
from shared.client.resources.fleet import Fleet
from shared.contracts.rollouts import PackageImport, RolloutState
from shared.kit.database import begin_reading

log = structlog.get_logger(__name__)

ROLL_OUT: Final = "deployments.fleet"

_ERROR_LIMIT: Final = 2000
_NEVER_STARTED: Final = frozenset({RolloutState.DRAFT, RolloutState.WAITING_FOR_APPROVAL})
_GOES_ON: Final = frozenset({RolloutState.RUNNING, RolloutState.PAUSED})
_RETURNS: Final = frozenset({RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK})


def tick(services: Services) -> None:
    """Tell the fleet service what it does not know yet: of new generations, of old ones, and of deployments that are gone.

    While it is away this is tried again, with growing pauses.
    """
    with services.sessions.begin() as session:
        begin_reading(session)
        told = rollouts.begun_alone(session)
        wanted = [each for each in repository.wanted_fleets(session) if (each.id, each.generation) not in told]
        orphans = rollouts.orphans(session)
    work: list[WantedFleet | _Orphan] = [*wanted, *(_Orphan(row) for row in orphans)]
    for each in work:
        if services.stopping.is_set():
            return
        if services.convergence.is_due(each) and not _settle(services, each):
            return


class _Orphan:
    """What is left of a deployment that was deleted. Its id stands for its name, which another may have now."""

    def __init__(self, row: DeploymentRollout) -> None:
        self.row, self.id, self.name, self.generation = row, row.deployment_id, row.deployment_id, row.generation


def _settle(services: Services, each: WantedFleet | _Orphan) -> bool:
    """False if nobody answers, so that the others need not be tried."""
    try:
        with services.fleet() as client:
            if isinstance(each, _Orphan):
                _forget(services, client.fleet, each.row)
            else:
                _advance(services, client.fleet, each)
    except (ClientError, OSError) as exc:  # OSError: the key's file
        _note(services, each, exc)
        return not isinstance(exc, NotReachable)
    services.convergence.forget(each.name)
    return True


def _note(services: Services, each: Numbered, exc: ClientError | OSError) -> None:
    told = f"{exc} {exc.hint}".strip() if isinstance(exc, ClientError) else str(exc)
    services.convergence.failed(each, for_now=True)
    with services.sessions.begin() as session:
        rollouts.failed(session, each, told[:_ERROR_LIMIT])
    log.warning("deployment.not_rolled_out", deployment=each.name, generation=each.generation, error=told)


def _advance(services: Services, fleet: Fleet, wanted: WantedFleet) -> None:
    row = _noted(services, wanted)
    if row is None:
        return
    with services.sessions.begin() as session:
        begin_reading(session)
        old = rollouts.superseded(session, wanted)
    for each in old:
        _end(fleet, each, f"{wanted.name} is at generation {wanted.generation} now")
        _step(services, each, RolloutStep.OVER)
    if row.step == RolloutStep.MAKING:
        _begin(services, fleet, wanted, row)


def _noted(services: Services, wanted: WantedFleet) -> DeploymentRollout | None:
    """The generation's row, from before anything is asked for it; None if it is no longer the newest."""
    with services.sessions.begin() as session:
        deployment = session.get(Deployment, wanted.id)
        if deployment is None or deployment.generation != wanted.generation:
            return None
        if rollouts.find(session, wanted.id, wanted.generation) is None:
            before = _taken_back(session, wanted)
            added = rollouts.add(session, wanted, rollout_id=before.rollout_id if before else None)
            if added and before is not None:
                rollouts.to_step(session, before, RolloutStep.OVER)
        return rollouts.find(session, wanted.id, wanted.generation)


def _taken_back(session: Session, wanted: WantedFleet) -> DeploymentRollout | None:
    """The rollout of the generation before, if rolling it back brings about what is wanted."""
    row = rollouts.find(session, wanted.id, wanted.generation - 1)
    if row is None or row.returns or row.step != RolloutStep.BEGUN:
        return None
    found = [repository.revision(session, wanted.id, wanted.generation - back) for back in (1, 2)]
    plans = [repository.plan_of(revision) for revision in found if revision is not None]
    specs = [plan.spec for plan in plans if isinstance(plan, FleetPlan)]
    return row if len(specs) == 2 and takes_back(wanted.spec, *specs) else None


def _begin(services: Services, fleet: Fleet, wanted: WantedFleet, row: DeploymentRollout) -> None:
    if row.returns:
        _roll_back(fleet, row.rollout_id or "", f"{wanted.name} goes back to {wanted.spec.package}")
    else:
        rollout_id = row.rollout_id or _made(services, fleet, wanted, row)
        if rollout_id is None:
            return
        if fleet.rollouts.get(rollout_id).state is RolloutState.DRAFT:
            fleet.rollouts.start(rollout_id)
    _step(services, row, RolloutStep.BEGUN)
    log.info("deployment.rolled_out", deployment=wanted.name, generation=wanted.generation, returns=row.returns)


def _made(services: Services, fleet: Fleet, wanted: WantedFleet, row: DeploymentRollout) -> str | None:
    """The id of a draft, kept; None if the generation is no longer wanted, and then the draft is gone again."""
    fleet.packages.import_(PackageImport(package=wanted.spec.package))
    made = fleet.rollouts.create(wanted.spec.rollout(row.name), idempotency_key=f"{wanted.id}-{wanted.generation}")
    with services.sessions.begin() as session:
        kept = rollouts.made(session, row, made.id)
    if kept:
        return made.id
    _stop(fleet, made.id, "no longer wanted")
    return None


def _roll_back(fleet: Fleet, rollout_id: str, reason: str) -> None:
    if fleet.rollouts.get(rollout_id).state not in _RETURNS:
        fleet.rollouts.rollback(rollout_id, reason)


def _forget(services: Services, fleet: Fleet, row: DeploymentRollout) -> None:
    if row.step != RolloutStep.OVER:
        _end(fleet, row, "the deployment was deleted")
    with services.sessions.begin() as session:
        rollouts.remove(session, row)


def _end(fleet: Fleet, row: DeploymentRollout, reason: str) -> None:
    """Let nothing of it go on; cameras keep what they have."""
    if row.rollout_id is not None:
        _stop(fleet, row.rollout_id, reason)
        return
    # It was made or not: the answer was lost. Then it is a draft, since it is started after the answer.
    for draft in fleet.rollouts.list(states=[RolloutState.DRAFT]):
        if draft.name == row.name:
            _stop(fleet, draft.id, reason)


def _stop(fleet: Fleet, rollout_id: str, reason: str) -> None:
    try:
        state = fleet.rollouts.get(rollout_id).state
        if state in _NEVER_STARTED:
            fleet.rollouts.delete(rollout_id)
        elif state in _GOES_ON:
            fleet.rollouts.abort(rollout_id, reason)
    except ProblemError as exc:
        if exc.status != 404:  # somebody has removed it
            raise


def _step(services: Services, row: DeploymentRollout, step: RolloutStep) -> None:
    with services.sessions.begin() as session:
        rollouts.to_step(session, row, step)
