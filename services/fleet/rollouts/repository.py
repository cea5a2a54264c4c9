"""Statements on the tables of rollouts that more than one module needs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera
from services.fleet.cameras.selecting import conditions
from services.fleet.cameras.selector import parse
from services.fleet.polling.epochs import BUCKETS, touch, touch_all
from services.fleet.rollouts.models import Rollout, RolloutPhase, Sample
from shared.contracts.rollouts import ActionKind, ActionState, RolloutIn, RolloutState
from shared.kit.database import db_now

NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""``next_tick_at`` of a rollout for which nothing is left to do."""

TURN_TO_COME: Final[ColumnElement[bool]] = literal_column("actions.state = 'pending' AND NOT actions.active")
"""Of an action that was not let in yet; written as the index ``ix_actions_waiting`` has it, which is used only then."""

TICKED: Final = tuple(state for state in RolloutState if state not in {RolloutState.DRAFT, RolloutState.WAITING_FOR_APPROVAL})


def due(session: Session) -> Sequence[str]:
    """Rollouts for which something may be to do, higher priority first."""
    query = select(Rollout.id).where(Rollout.state.in_(TICKED), Rollout.next_tick_at <= db_now(session))
    return session.scalars(query.order_by(Rollout.priority.desc(), Rollout.id)).all()


def claim(session: Session, rollout_id: str, states: Collection[RolloutState]) -> Rollout | None:
    """The rollout with its row locked, if it is in one of ``states`` and nobody else has it."""
    query = select(Rollout).where(Rollout.id == rollout_id, Rollout.state.in_(states))
    return session.scalar(query.with_for_update(skip_locked=True).execution_options(populate_existing=True))


def find(session: Session, rollout_id: str) -> Rollout | None:
    """As it is now, or None."""
    return session.scalar(select(Rollout).where(Rollout.id == rollout_id).execution_options(populate_existing=True))


def locked(session: Session, rollout_id: str) -> Rollout | None:
    """The rollout with its row locked, once whoever has it has done."""
    query = select(Rollout).where(Rollout.id == rollout_id).with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def listed(states: Collection[RolloutState], package_ids: Collection[str] | None) -> Select[Rollout]:
    """The query of the list."""
    query = select(Rollout)
    if states:
        query = query.where(Rollout.state.in_([state.value for state in states]))
    return query if package_ids is None else query.where(Rollout.package_id.in_(package_ids))


def phases(session: Session, rollout_ids: Collection[str]) -> dict[str, list[RolloutPhase]]:
    """By rollout, in order."""
    query = select(RolloutPhase).where(RolloutPhase.rollout_id.in_(rollout_ids)).order_by(RolloutPhase.number)
    found: dict[str, list[RolloutPhase]] = {rollout_id: [] for rollout_id in rollout_ids}
    for phase in session.scalars(query.execution_options(populate_existing=True)):
        found[phase.rollout_id].append(phase)
    return found


def enter_phase(session: Session, rollout_id: str, number: int, expected: Collection[str], **values: Any) -> bool:
    """Change a phase that is in one of the states ``expected``; False if it is elsewhere."""
    mine = (RolloutPhase.rollout_id == rollout_id, RolloutPhase.number == number, RolloutPhase.state.in_(expected))
    changed = update(RolloutPhase).where(*mine).values(values).returning(RolloutPhase.number)
    return session.scalar(changed, execution_options={"synchronize_session": False}) is not None


def for_cameras(rollout: Rollout, spec: RolloutIn) -> list[ColumnElement[bool]]:
    """What must hold of a row of ``Camera`` that the rollout is for. Whoever replaces a named camera is meant too."""
    if spec.cameras is None:
        return conditions(parse(rollout.selector or ""))
    named = select(Camera.id, Camera.replaced_by_id).where(Camera.id.in_(spec.cameras)).cte(recursive=True)
    followed = select(Camera.id, Camera.replaced_by_id).join(named, Camera.id == named.c.replaced_by_id)
    return [Camera.deleted_at.is_(None), Camera.id.in_(select(named.union(followed).c.id))]


@dataclass(slots=True)
class Standing:
    """How the cameras of a phase stand. Without a number: of all phases, or of what no phase counts."""

    installs: dict[ActionState, int] = field(default_factory=dict)
    turn_to_come: int = 0
    restores: dict[ActionState, int] = field(default_factory=dict)


def standings(session: Session, rollout_ids: Collection[str]) -> dict[tuple[str, int | None], Standing]:
    """By rollout and phase."""
    keys = (Action.rollout_id, Action.phase, Action.kind, Action.state, Action.active)
    query = select(*keys, func.count()).where(Action.rollout_id.in_(rollout_ids)).group_by(*keys)
    found: dict[tuple[str, int | None], Standing] = {}
    for rollout_id, phase, kind, state, active, count in session.execute(query):
        standing = found.setdefault((str(rollout_id), phase), Standing())
        counts = standing.installs if kind == ActionKind.INSTALL else standing.restores
        counts[ActionState(state)] = counts.get(ActionState(state), 0) + count
        if kind == ActionKind.INSTALL and state == ActionState.PENDING and not active:
            standing.turn_to_come += count
    return found


def agreements(session: Session, rollout_ids: Collection[str]) -> dict[tuple[str, int], tuple[int, float | None]]:
    """By rollout and phase: how many sampled masks were compared, and their mean IoU."""
    query = (
        select(Sample.rollout_id, Sample.phase, func.count(Sample.agreement), func.avg(Sample.agreement))
        .join(Rollout, (Rollout.id == Sample.rollout_id) & (Rollout.package_id == Sample.package_id))
        .where(Sample.rollout_id.in_(rollout_ids), Sample.phase.is_not(None))
        .group_by(Sample.rollout_id, Sample.phase)
    )
    return {(rollout_id, phase): (count, mean) for rollout_id, phase, count, mean in session.execute(query)}


def installs(rollout_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Conditions on the rollout's install actions."""
    return Action.rollout_id == rollout_id, Action.kind == ActionKind.INSTALL.value


def touch_cameras(session: Session, rollout_id: str) -> None:
    """Its cameras are told from now on to poll more often, or less: how often depends on the state of their rollouts."""
    most = 4 * BUCKETS
    ids = session.scalars(select(Action.camera_id).where(Action.rollout_id == rollout_id).limit(most)).all()
    if len(ids) < most:
        touch(session, ids)
    else:
        touch_all(session)


def has_open(session: Session, rollout_id: str) -> bool:
    """Some camera still has something to do, or will have."""
    open_ = or_(Action.active, Action.state == ActionState.PENDING)
    return session.scalar(select(Action.id).where(Action.rollout_id == rollout_id, open_).limit(1)) is not None
