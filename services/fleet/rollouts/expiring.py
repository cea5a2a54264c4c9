"""Deadlines: of cameras that do not answer, and of those whose turn never comes because something else holds them."""

from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, and_, exists, or_, select
from sqlalchemy.orm import aliased

from services.fleet.actions.models import Action
from services.fleet.actions.moves import move_all, request_cancel
from services.fleet.rollouts import repository
from services.fleet.rollouts.models import RolloutPhase
from services.fleet.rollouts.work import Work
from shared.contracts.rollouts import ActionKind, ActionState, RolloutState

CANCEL_ANSWER_S: Final = 600
"""A device that is asked to stop has so long to answer, or as long as the deadline if that is shorter."""

_COUNTED: Final = (RolloutState.RUNNING, RolloutState.PAUSED)
"""States of a rollout whose failures are looked at, or will be."""

_IN_THE_MIDDLE: Final = (ActionState.INSTALLING, ActionState.SELF_TESTING)


def expire(work: Work) -> bool:
    """Those that no device has seen expire at their deadline; others are asked to stop then, and expire without an answer.

    One that fell silent while it installed has failed: else a package that breaks cameras would be stopped by no limit.
    """
    unanswered = work.now - timedelta(seconds=min(work.spec.deadline_s, CANCEL_ANSWER_S))
    late = and_(Action.deadline_at <= work.now, Action.cancel_requested_at.is_(None))
    silent = Action.cancel_requested_at <= unanswered
    query = select(Action.id, Action.state, Action.cancel_requested_at).where(Action.rollout_id == work.id, Action.active)
    rows = work.session.execute(query.where(or_(late, silent)).limit(work.rows)).all()
    unseen = [row.id for row in rows if row.state == ActionState.PENDING]
    expected = {ActionState.PENDING}
    move_all(work.session, unseen, ActionState.EXPIRED, expected=expected, message="the camera did not ask until the deadline")
    seen = [row for row in rows if row.state != ActionState.PENDING]
    request_cancel(work.session, [row.id for row in seen if row.cancel_requested_at is None])
    unanswering = [row for row in seen if row.cancel_requested_at is not None]
    broken = [row.id for row in unanswering if work.rollout.state in _COUNTED and row.state in _IN_THE_MIDDLE]
    move_all(work.session, broken, ActionState.FAILED, message="the camera began to install it, and fell silent")
    others = [row.id for row in unanswering if row.id not in set(broken)]
    move_all(work.session, others, ActionState.EXPIRED, message="the camera did not answer until the deadline")
    return len(rows) == work.rows


def expire_held(work: Work) -> bool:
    """Cameras whose turn has come, and which something else holds until the deadline, are not waited for."""
    last = work.now - timedelta(seconds=work.spec.deadline_s)
    begun = select(RolloutPhase.number).where(RolloutPhase.rollout_id == work.id, RolloutPhase.started_at <= last)
    query = select(Action.id).where(*repository.installs(work.id), Action.phase.in_(begun), repository.TURN_TO_COME)
    return _expire_held(work, list(work.session.scalars(query.where(_held()).limit(work.rows))))


def expire_unreturned(work: Work) -> bool:
    """Restores whose turn did not come until the deadline: the camera is held, or nobody signed the return."""
    last = work.now - timedelta(seconds=work.spec.deadline_s)
    mine = (Action.rollout_id == work.id, Action.kind == ActionKind.RESTORE.value, repository.TURN_TO_COME)
    query = select(Action.id).where(*mine, Action.created_at <= last)
    return _expire_held(work, list(work.session.scalars(query.limit(work.rows))))


def _expire_held(work: Work, action_ids: list[int]) -> bool:
    move_all(work.session, action_ids, ActionState.EXPIRED, message="its turn did not come until the deadline")
    return len(action_ids) == work.rows


def _held() -> ColumnElement[bool]:
    other = aliased(Action)
    return exists().where(other.camera_id == Action.camera_id, other.active)
