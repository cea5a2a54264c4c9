"""The states of our actions in hawkBit's words. Pure."""

from collections.abc import Mapping
from typing import Final, Literal

from services.fleet.actions.domain import is_open
from shared.contracts.rollouts import ActionState as S

STATUS: Final[Mapping[S, str]] = {
    S.PENDING: "scheduled",
    S.OFFERED: "retrieved",
    S.DOWNLOADING: "download",
    S.VERIFYING: "downloaded",
    S.INSTALLING: "running",
    S.SELF_TESTING: "running",
    S.RUNNING: "finished",
    S.FAILED: "error",
    S.CANCELLED: "canceled",
    S.EXPIRED: "error",
    S.SUPERSEDED: "canceled",
    S.RESTORING: "running",
    S.RESTORED: "finished",
}
"""Of one line of an action's history: hawkBit's Action.Status in lower case."""

_SAID: Final[Mapping[str, str]] = {
    "proceeding": "running",
    "download": "download",
    "downloaded": "downloaded",
    "scheduled": "running",
    "resumed": "running",
    "rejected": "warning",
}


def status_of(state: S, execution: object) -> str:
    """Of one line of an action's history. What the device said counts more than the state, which devices do not turn back."""
    said = _SAID.get(execution) if isinstance(execution, str) else None
    return said if said is not None and is_open(state) else STATUS[state]


def detail_status(state: S, *, active: bool, cancelling: bool) -> str:
    """Of an action as a whole: while it is open it is pending, running or canceling."""
    if active and cancelling:
        return "canceling"
    if state in {S.PENDING, S.OFFERED}:
        return "running" if active else "scheduled"
    return STATUS[state]


def kind(state: S, *, active: bool, cancelling: bool) -> Literal["update", "cancel"]:
    """A cancellation from the request on; an update again where the target was faster."""
    cancelled = state in {S.CANCELLED, S.SUPERSEDED}
    return "cancel" if cancelled or (active and cancelling) else "update"
