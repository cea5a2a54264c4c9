"""What people do with rollouts. Each deed names the states in which it can be done, and is recorded with who did it."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.events.record import record
from services.fleet.packages.models import Package
from services.fleet.rollouts import repository
from services.fleet.rollouts.creating import create
from services.fleet.rollouts.errors import RolloutElsewhere, RolloutNotFound
from services.fleet.rollouts.memory import Memory
from services.fleet.rollouts.models import Rollout
from services.fleet.rollouts.planning import TRIED_AGAIN
from shared.contracts.rollouts import ActionState, PhaseState, RolloutIn
from shared.contracts.rollouts import RolloutState as R
from shared.kit.auth import Actor
from shared.kit.database import db_now

POSSIBLE: Final[Mapping[str, frozenset[R]]] = {
    "start": frozenset({R.DRAFT}),
    "approve": frozenset({R.WAITING_FOR_APPROVAL, R.RUNNING, R.PAUSED}),
    "pause": frozenset({R.RUNNING}),
    "resume": frozenset({R.PAUSED}),
    "abort": frozenset({R.WAITING_FOR_APPROVAL, R.RUNNING, R.PAUSED}),
    "retry": frozenset({R.RUNNING, R.FINISHED}),
    "rollback": frozenset({R.RUNNING, R.PAUSED, R.FINISHED, R.ABORTED}),
    "delete": frozenset({R.DRAFT}),
    "clone": frozenset(R),
}
"""By deed, the states in which it can be done."""


def get(session: Session, rollout_id: str) -> Rollout:
    """Raises RolloutNotFound."""
    return _existing(repository.find(session, rollout_id), rollout_id)


def make(session: Session, body: RolloutIn, *, actor: Actor) -> Rollout:
    """A new rollout, started if it says so. InvalidRequest names the field that names nothing."""
    rollout = create(session, body, actor=actor)
    return start(session, rollout.id, actor=actor) if body.start else rollout


def start(session: Session, rollout_id: str, *, actor: Actor) -> Rollout:
    """Let the engine begin, or let it wait for approval. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "start")
    if rollout.spec["approval"]:
        rollout.state, rollout.reason = R.WAITING_FOR_APPROVAL.value, "waits for approval"
        return _done(session, rollout, actor, "rollout.waiting_for_approval")
    return _begin(session, rollout, actor, "rollout.started")


def _begin(session: Session, rollout: Rollout, actor: Actor, event: str, reason: str = "") -> Rollout:
    package = session.get_one(Package, rollout.package_id, populate_existing=True)
    if package.deleted_at is not None:
        hint = "clone the rollout with another package"
        raise RolloutElsewhere(f"The package {package.ref} was deleted.", hint=hint, state=rollout.state, possible=["clone"])
    rollout.state, rollout.reason, rollout.started_at = R.RUNNING.value, reason, db_now(session)
    return _done(session, rollout, actor, event, reason)


def approve(session: Session, rollout_id: str, *, actor: Actor, reason: str) -> Rollout:
    """Let the rollout begin, or its phase that waits. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "approve")
    if rollout.state == R.WAITING_FOR_APPROVAL:
        rollout.approved_by = actor.name
        return _begin(session, rollout, actor, "rollout.approved", reason)
    waiting = PhaseState.WAITING_FOR_APPROVAL.value
    for phase in repository.phases(session, [rollout_id])[rollout_id]:
        if phase.state == waiting:
            repository.enter_phase(session, rollout_id, phase.number, [waiting], approved_by=actor.name)
            rollout.reason = "" if rollout.state == R.RUNNING else rollout.reason
            return _done(session, rollout, actor, "phase.approved", reason, phase=phase.number)
    raise _elsewhere(rollout, f"No phase of the rollout {rollout.name} waits for approval.", but="approve")


def pause(session: Session, rollout_id: str, *, actor: Actor, reason: str) -> Rollout:
    """Let no further camera in; those that are at it go on. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "pause")
    rollout.state, rollout.reason = R.PAUSED.value, reason or f"paused by {actor.name}"
    return _done(session, rollout, actor, "rollout.paused", reason)


def resume(session: Session, rollout_id: str, *, actor: Actor, reason: str) -> Rollout:
    """Go on. Failures for which it had stopped by itself are accepted; one more stops it. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "resume")
    memory = Memory.model_validate(rollout.budget)
    if memory.stopped:
        memory = memory.let_go_on(_failures(session, rollout_id))
    allowance = memory.allowance
    rollout.budget = (memory.with_allowance(allowance.paused()) if allowance else memory).model_dump(mode="json")
    rollout.state, rollout.reason = R.RUNNING.value, reason
    return _done(session, rollout, actor, "rollout.resumed", reason, accepted=sum(memory.accepted.values()))


def _failures(session: Session, rollout_id: str) -> dict[int, int]:
    """Of each phase that has begun."""
    standings = repository.standings(session, [rollout_id])
    begun = [phase for phase in repository.phases(session, [rollout_id])[rollout_id] if phase.started_at is not None]
    found = {phase.number: standings.get((rollout_id, phase.number)) for phase in begun}
    return {number: each.installs.get(ActionState.FAILED, 0) if each else 0 for number, each in found.items()}


def abort(session: Session, rollout_id: str, *, actor: Actor, reason: str) -> Rollout:
    """Stop for good; cameras that have the package keep it. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "abort")
    rollout.state, rollout.reason = R.ABORTED.value, reason or f"aborted by {actor.name}"
    rollout.ended_at = db_now(session)
    return _done(session, rollout, actor, "rollout.aborted", reason)


def rollback(session: Session, rollout_id: str, *, actor: Actor, reason: str) -> Rollout:
    """Return every touched camera to its last good package. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "rollback")
    rollout.state, rollout.reason = R.ROLLING_BACK.value, reason or f"rolled back by {actor.name}"
    rollout.ended_at = None
    return _done(session, rollout, actor, "rollout.rolling_back", reason)


def retry(session: Session, rollout_id: str, *, actor: Actor, reason: str) -> Rollout:
    """Let failed, expired and cancelled cameras try again. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "retry")
    ended = select(func.max(Action.id), func.count()).where(*repository.installs(rollout_id), Action.phase.is_not(None))
    newest, cameras = session.execute(ended.where(Action.state.in_([state.value for state in TRIED_AGAIN]))).one()
    if not cameras:
        raise _elsewhere(rollout, f"No camera of the rollout {rollout.name} has failed, expired or was cancelled.", but="retry")
    memory = Memory.model_validate(rollout.budget).model_copy(update={"retry_through": newest, "to_the_last": True})
    rollout.budget = memory.model_dump(mode="json")
    rollout.state, rollout.reason, rollout.ended_at = R.RUNNING.value, reason, None
    return _done(session, rollout, actor, "rollout.retried", reason, cameras=cameras)


def delete(session: Session, rollout_id: str, *, actor: Actor) -> None:
    """Remove a draft. RolloutNotFound, RolloutElsewhere."""
    rollout = _taken(session, rollout_id, "delete")
    record(session, "rollout.deleted", actor=actor, rollout_id=rollout_id, name=rollout.name)
    session.execute(delete_from(Rollout).where(Rollout.id == rollout_id), execution_options={"synchronize_session": False})


def _existing(rollout: Rollout | None, rollout_id: str) -> Rollout:
    if rollout is None:
        raise RolloutNotFound(f"There is no rollout {rollout_id!r}.", rollout=rollout_id)
    return rollout


def _taken(session: Session, rollout_id: str, deed: str) -> Rollout:
    """The rollout with its row locked, if the deed can be done."""
    rollout = _existing(repository.locked(session, rollout_id), rollout_id)
    if R(rollout.state) not in POSSIBLE[deed]:
        raise _elsewhere(rollout, f"The rollout {rollout.name} is {rollout.state}; {deed} cannot be done then.")
    return rollout


def _elsewhere(rollout: Rollout, detail: str, *, but: str = "") -> RolloutElsewhere:
    possible = [deed for deed, states in POSSIBLE.items() if R(rollout.state) in states and deed != but]
    return RolloutElsewhere(detail, hint=f"possible now: {', '.join(possible)}", state=rollout.state, possible=possible)


def _done(session: Session, rollout: Rollout, actor: Actor, event: str, reason: str = "", **detail: Any) -> Rollout:
    rollout.next_tick_at = db_now(session)
    repository.touch_cameras(session, rollout.id)
    record(session, event, actor=actor, rollout_id=rollout.id, reason=reason, **detail)
    session.flush()
    return rollout
