"""What a device's feedback means. Pure: no clock, no database, no HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.fleet.actions.domain import is_open, may_move
from shared.contracts.ddi import PACKAGE_DETAIL, STATE_DETAIL, TOLD_STATES, Execution, FeedbackStatus, Finished
from shared.contracts.rollouts import ActionState as S
from shared.kit.problems import InvalidRequest

_STEPS: Final = {
    Execution.DOWNLOAD: S.DOWNLOADING,
    Execution.DOWNLOADED: S.VERIFYING,
    Execution.REJECTED: S.FAILED,
    Execution.CANCELED: S.CANCELLED,
    Execution.SCHEDULED: None,
    Execution.RESUMED: None,
}

_ENDS: Final = {Finished.SUCCESS: S.RUNNING, Finished.NONE: S.RUNNING, Finished.FAILURE: S.FAILED}
"""As hawkBit reads them: swupdate closes with `none` what it installed without a restart."""

_MARKS: Final = (STATE_DETAIL, PACKAGE_DETAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A feedback, understood."""

    to: S | None
    """The state that it speaks of; None: whichever the action is in."""
    message: str
    """The last line that was said to people."""
    detail: dict[str, Any]
    runs: str | None = None
    """What the device says that it runs now, as picosam2/3 or `none`; None: it does not say."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an action by a report."""

    to: S | None
    """Where it moves; None: it stays."""
    over: bool = False
    """The action is over, and the device does not know it."""


def understood(status: FeedbackStatus) -> Report:
    """A feedback on a deployment. InvalidRequest if it is closed and does not say how: that must never count as success."""
    said = [line for line in status.details if line.strip() and not line.startswith(_MARKS)]
    return Report(
        to=_target(status),
        message=said[-1].strip() if said else "",
        detail=_detail(status),
        runs=_marked(status.details, PACKAGE_DETAIL),
    )


def judged(state: S, to: S | None) -> Verdict:
    """What a report that speaks of ``to`` makes of an action in ``state``: never a step back, never out of an end."""
    if not is_open(state):
        return Verdict(None, over=to is not state)
    return Verdict(to if to is not None and may_move(state, to) else None)


def _target(status: FeedbackStatus) -> S | None:
    if status.execution is Execution.CLOSED:
        if status.result is None:
            raise InvalidRequest.of_field("body.status.result", "missing", "closed needs result.finished: success or failure")
        return _ENDS[status.result.finished]
    if status.execution is Execution.PROCEEDING:
        return _told(status.details)
    return _STEPS[status.execution]


def _told(details: Sequence[str]) -> S:
    """The state in the details; a device that names none is installing, as far as DDI can say."""
    named = _marked(details, STATE_DETAIL)
    return next((state for state in TOLD_STATES if state.value == named), S.INSTALLING)


def _marked(details: Sequence[str], mark: str) -> str | None:
    return next((line.removeprefix(mark).strip() for line in reversed(details) if line.startswith(mark)), None)


def _detail(status: FeedbackStatus) -> dict[str, Any]:
    """For the history: bounded, whatever the device sends."""
    detail: dict[str, Any] = {"execution": status.execution.value, "lines": status.details}
    if status.result is not None:
        detail["finished"] = status.result.finished.value
        if (progress := _progress(status.result.progress)) is not None:
            detail["progress"] = progress
    if isinstance(status.code, int) and abs(status.code) < 1 << 31:
        detail["code"] = status.code
    return {name: value for name, value in detail.items() if value not in ([], None)}


def _progress(given: Any) -> dict[str, int] | None:
    if not isinstance(given, dict):
        return None
    numbers = {name: given.get(name) for name in ("cnt", "of")}
    return {name: n for name, n in numbers.items() if type(n) is int and abs(n) < 1 << 31} or None
