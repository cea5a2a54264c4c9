"""Rollouts as users see them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.fleet.packages.models import Package
from services.fleet.rollouts import repository
from services.fleet.rollouts.models import Rollout, RolloutPhase
from services.fleet.rollouts.repository import Standing
from shared.contracts.rollouts import ActionState, Counts, PhaseIn, PhaseOut, RolloutIn, RolloutOut


def one(session: Session, rollout: Rollout) -> RolloutOut:
    """A single rollout."""
    return many(session, [rollout])[0]


def many(session: Session, rollouts: Sequence[Rollout]) -> list[RolloutOut]:
    """Rollouts in the order given."""
    ids = [rollout.id for rollout in rollouts]
    refs = {
        package.id: package.ref
        for package in session.scalars(select(Package).where(Package.id.in_({rollout.package_id for rollout in rollouts})))
    }
    phases, standings = repository.phases(session, ids), repository.standings(session, ids)
    sampled = repository.agreements(session, ids)
    return [
        _rollout(
            rollout,
            refs[rollout.package_id],
            [
                _phase(
                    phase,
                    PhaseIn.model_validate(rollout.spec["phases"][phase.number - 1]),
                    standings.get((rollout.id, phase.number), Standing()),
                    sampled.get((rollout.id, phase.number), (0, None)),
                )
                for phase in phases[rollout.id]
            ],
            _summed([each.restores for (rollout_id, _), each in standings.items() if rollout_id == rollout.id]),
        )
        for rollout in rollouts
    ]


def _rollout(rollout: Rollout, package: str, phases: list[PhaseOut], restores: Counts) -> RolloutOut:
    return RolloutOut(
        id=rollout.id,
        name=rollout.name,
        package=package,
        spec=RolloutIn.model_validate(rollout.spec),
        state=rollout.state,
        reason=rollout.reason,
        cameras=sum(phase.cameras for phase in phases),
        counts=_summed([phase.counts for phase in phases]),
        restores=restores,
        phases=phases,
        created_at=rollout.created_at,
        created_by=rollout.created_by,
        started_at=rollout.started_at,
        ended_at=rollout.ended_at,
    )


def _phase(phase: RolloutPhase, spec: PhaseIn, standing: Standing, sampled: tuple[int, float | None]) -> PhaseOut:
    return PhaseOut(
        number=phase.number,
        state=phase.state,
        spec=spec,
        cameras=sum(standing.installs.values()),
        counts=standing.installs,
        samples=sampled[0],
        agreement=sampled[1],
        started_at=phase.started_at,
        soaking_since=phase.soaking_since,
        ended_at=phase.ended_at,
    )


def _summed(counts: Sequence[Counts]) -> Counts:
    total: Counts = {}
    for each in counts:
        for state, count in each.items():
            total[ActionState(state)] = total.get(ActionState(state), 0) + count
    return total
