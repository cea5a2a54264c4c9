"""Taking what devices report: of deployments, and of cancellations."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from services.fleet.actions.domain import is_open
from services.fleet.actions.models import Action, ActionHistory
from services.fleet.actions.moves import move
from services.fleet.cameras.models import Camera
from services.fleet.ddi import repository
from services.fleet.ddi.deployments import find_action, gone
from services.fleet.ddi.errors import ActionGone, NothingToCancel
from services.fleet.ddi.reports import Report, judged, understood
from services.fleet.polling.epochs import touch
from shared.contracts.ddi import Execution, FeedbackStatus, Finished
from shared.contracts.rollouts import ActionState

MOST_ROWS: Final = 200
"""Of one action's history; beyond it only changes of state are written."""

NO_PACKAGE: Final = "none"


def take(session: Session, camera: Camera, action_id: str, status: FeedbackStatus) -> ActionGone | None:
    """A report on a deployment. What is given back is to be answered after the commit: it notes what came too late.

    DeviceActionNotFound, InvalidRequest. A report that was there before changes nothing.
    """
    action = find_action(session, camera, action_id)
    report = understood(status)
    verdict = judged(ActionState(action.state), _meant(action, report))
    if verdict.to is not None and _moved(session, action, verdict.to, report):
        _follow(session, camera, verdict.to, report)
        return None
    if verdict.to is not None:
        # It is elsewhere by now: another report or a tick came between. States only go forward, so this ends.
        return take(session, camera, action_id, status)
    _note(session, action, report.message, report.detail)
    return gone(action) if verdict.over else None


def _meant(action: Action, report: Report) -> ActionState | None:
    """A device that stops unasked has not installed the package: else it would be counted as one that is gone, by no limit."""
    unasked = report.to is ActionState.CANCELLED and action.cancel_requested_at is None
    return ActionState.FAILED if unasked else report.to


def take_cancel(session: Session, camera: Camera, action_id: str, status: FeedbackStatus) -> ActionGone | None:
    """A report on a cancellation: the action stops, or goes on. DeviceActionNotFound, NothingToCancel, InvalidRequest."""
    action = find_action(session, camera, action_id)
    report = understood(status)
    if not is_open(ActionState(action.state)):
        return None if action.state == ActionState.CANCELLED and _stopped(status) else gone(action)
    if action.cancel_requested_at is None:
        raise NothingToCancel(f"Nobody wants action {action.id} to stop.")
    if _stopped(status) and not _moved(session, action, ActionState.CANCELLED, report):
        return take_cancel(session, camera, action_id, status)
    if not _stopped(status):
        _note(session, action, report.message or "the device does not stop", report.detail)
    return None


def _stopped(status: FeedbackStatus) -> bool:
    if status.execution is Execution.CLOSED:
        return status.result is not None and status.result.finished is not Finished.FAILURE
    return status.execution is Execution.CANCELED


def _moved(session: Session, action: Action, to: ActionState, report: Report) -> bool:
    return move(session, action.id, to, expected={ActionState(action.state)}, message=report.message, detail=report.detail)


def _follow(session: Session, camera: Camera, to: ActionState, report: Report) -> None:
    """A camera whose installation failed may say what it runs now; a package that nobody knows is left in the history."""
    if to is not ActionState.FAILED or report.runs is None:
        return
    package = repository.package_by_ref(session, report.runs)
    if package is not None or report.runs == NO_PACKAGE:
        camera.current_package_id = package.id if package else None
        touch(session, [camera.id])


def _note(session: Session, action: Action, message: str, detail: Mapping[str, Any]) -> None:
    """Add to the history what changes no state, unless it is what was said last, or enough was said."""
    last = repository.last_words(session, action.id)
    if last is not None and last.detail == dict(detail):
        return
    if repository.history_length(session, action.id) < MOST_ROWS:
        session.add(ActionHistory(action_id=action.id, state=action.state, message=message, detail=dict(detail)))
