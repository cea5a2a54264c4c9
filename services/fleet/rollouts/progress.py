"""The phases of a rollout that runs: what is known of it is read, the domain decides, and that is done."""

from collections.abc import Mapping
from typing import Final

import structlog

from services.fleet.packages.models import Package
from services.fleet.rollouts import repository
from services.fleet.rollouts.domain import (
    BeginSoak,
    Decision,
    EndPhase,
    Finish,
    Hold,
    LeaveSoak,
    LetIn,
    Phase,
    Snapshot,
    StartPhase,
    Stop,
    WaitForApproval,
    decide,
)
from services.fleet.rollouts.models import RolloutPhase
from services.fleet.rollouts.rate import Allowance
from services.fleet.rollouts.releasing import earn
from services.fleet.rollouts.repository import Standing
from services.fleet.rollouts.work import Work
from shared.contracts.rollouts import OnFailure, PhaseIn, PhaseState, RolloutState

log = structlog.get_logger(__name__)

_STOPPED: Final[Mapping[OnFailure, RolloutState]] = {
    OnFailure.PAUSE: RolloutState.PAUSED,
    OnFailure.ABORT: RolloutState.ABORTED,
    OnFailure.ROLL_BACK: RolloutState.ROLLING_BACK,
}


def advance_phases(work: Work) -> bool:
    """One step; True if there may be another at once, or cameras to let in, which is left to ``releasing``."""
    if not work.rollout.planned or _package_is_gone(work):
        return False
    snapshot, before = read(work), work.memory.allowance
    decisions = decide(snapshot)
    for decision in decisions:
        _act(work, snapshot, decision)
    if work.rollout.reason and not any(isinstance(each, Hold | Stop | Finish | WaitForApproval) for each in decisions):
        _clear_reason(work, snapshot)
    moved = any(isinstance(each, StartPhase | BeginSoak | LeaveSoak | EndPhase) for each in decisions)
    return moved or _may_let_in(work, before)


def _may_let_in(work: Work, before: Allowance | None) -> bool:
    """Something was earned. Less than a full piece waits for the next tick, since all cameras are counted before each."""
    now = work.memory.allowance
    return now is not None and (before is None or before.cameras < work.rows <= now.cameras)


def _clear_reason(work: Work, snapshot: Snapshot) -> None:
    """What held it back is over."""
    if not any(phase.state is PhaseState.WAITING_FOR_APPROVAL for phase in snapshot.phases):
        work.rollout.reason = ""


def _package_is_gone(work: Work) -> bool:
    package = work.session.get_one(Package, work.rollout.package_id, populate_existing=True)
    if package.deleted_at is None:
        return False
    work.enter(RolloutState.PAUSED, f"the package {package.ref} was deleted")
    return True


def read(work: Work) -> Snapshot:
    """The rollout as it stands in this transaction."""
    rows = repository.phases(work.session, [work.id])[work.id]
    standings = repository.standings(work.session, [work.id])
    sampled = {}
    if any(spec.quality for spec in work.spec.phases):
        sampled = repository.agreements(work.session, [work.id])
    phases = [
        _phase(work, row, spec, standings.get((work.id, row.number), Standing()), sampled.get((work.id, row.number), (0, None)))
        for row, spec in zip(rows, work.spec.phases, strict=True)
    ]
    return Snapshot(
        state=RolloutState(work.rollout.state),
        on_failure=work.spec.on_failure,
        phases=phases,
        now=work.now,
        to_the_last=work.memory.to_the_last,
    )


def _phase(work: Work, row: RolloutPhase, spec: PhaseIn, standing: Standing, sampled: tuple[int, float | None]) -> Phase:
    return Phase(
        number=row.number,
        spec=spec,
        state=PhaseState(row.state),
        counts=standing.installs,
        turn_to_come=standing.turn_to_come,
        approved=row.approved_by is not None,
        soaking_since=row.soaking_since,
        accepted=work.memory.accepted.get(row.number),
        masks_accepted=row.number in work.memory.masks_accepted,
        settled=row.number in work.memory.settled,
        samples=sampled[0],
        agreement=sampled[1],
    )


def _enter(work: Work, number: int, to: PhaseState, expected: set[PhaseState], **values: object) -> None:
    moved = repository.enter_phase(work.session, work.id, number, [state.value for state in expected], state=to.value, **values)
    if moved:
        work.tell(f"phase.{to.value}", phase=number)
        log.info("rollouts.phase", rollout_id=work.id, phase=number, state=to.value)


def _act(work: Work, snapshot: Snapshot, decision: Decision) -> None:
    match decision:
        case StartPhase(number):
            _enter(work, number, PhaseState.RUNNING, {PhaseState.WAITING, PhaseState.WAITING_FOR_APPROVAL}, started_at=work.now)
        case WaitForApproval(number):
            work.rollout.reason = f"phase {number} waits for approval"
            _enter(work, number, PhaseState.WAITING_FOR_APPROVAL, {PhaseState.WAITING})
        case BeginSoak(number):
            _enter(work, number, PhaseState.SOAKING, {PhaseState.RUNNING}, soaking_since=work.now)
        case LeaveSoak(number):
            _enter(work, number, PhaseState.RUNNING, {PhaseState.SOAKING}, soaking_since=None)
        case EndPhase(number):
            _enter(work, number, PhaseState.DONE, {PhaseState.SOAKING}, ended_at=work.now)
        case LetIn():
            earn(work, succeeded=sum(phase.succeeded for phase in snapshot.phases))
        case Hold(reason):
            work.rollout.reason = reason
        case Stop():
            _stop(work, decision)
        case Finish():
            work.remember(to_the_last=False)
            succeeded, cameras = (sum(getattr(phase, what) for phase in snapshot.phases) for what in ("succeeded", "cameras"))
            work.enter(RolloutState.FINISHED, f"{succeeded} of {cameras} cameras run the package")


def _stop(work: Work, stop: Stop) -> None:
    log.warning("rollouts.stopped", rollout_id=work.id, phase=stop.number, how=stop.how, reason=stop.reason)
    work.remember(stopped=True, stopped_by_masks=stop.number if stop.by_masks else None)
    work.enter(_STOPPED[stop.how], stop.reason)
