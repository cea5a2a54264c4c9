"""What a rollout does next, decided from what is known of it. Pure: no clock, no database, no HTTP.

A phase: waiting (-> waiting_for_approval) -> running <-> soaking -> done. It soaks while enough of its cameras run the package.
What is counted, each camera once, by its newest install action:

- *succeeded*: runs the package. *failed*: did not install it, or did not outlive the soak.
- *gone*: expired, cancelled or superseded. Neither a success nor a failure; they are taken out of the count, so that cameras
  that are off for ever do not hold a phase beyond their deadline. Where no camera at all has run the package yet, the next
  phase does not begin by itself: nothing speaks for the package.
- *accepted*: failures for which the rollout had stopped when a person let it go on. They do not stop it again; one more does.
  They say nothing of masks: whoever lets a rollout go on that differing masks had stopped accepts those of that phase alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from shared.contracts.rollouts import ActionState, OnFailure, PhaseIn, PhaseState, RolloutState

GONE: Final = frozenset({ActionState.CANCELLED, ActionState.EXPIRED, ActionState.SUPERSEDED})

OVER: Final = tuple(state.value for state in RolloutState if state.is_final)
"""Rollouts in these states bring their package to nobody any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A phase as it stands. ``counts`` are of its cameras' newest install actions."""

    number: int
    spec: PhaseIn
    state: PhaseState
    counts: Mapping[ActionState, int]
    turn_to_come: int = 0
    """Of the pending ones, those that were not let in yet."""
    approved: bool = False
    soaking_since: datetime | None = None
    accepted: int | None = None
    masks_accepted: bool = False
    """A person let it go on although its masks differ."""
    settled: bool = False
    """Its cameras' last good package is written down; of one that is done."""
    samples: int = 0
    agreement: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.turn_to_come <= self.counts.get(ActionState.PENDING, 0):
            raise ValueError(f"turn_to_come must be in 0..{self.counts.get(ActionState.PENDING, 0)}, got {self.turn_to_come}")

    @property
    def cameras(self) -> int:
        """All of them."""
        return sum(self.counts.values())

    @property
    def succeeded(self) -> int:
        """That run the package."""
        return self.counts.get(ActionState.RUNNING, 0)

    @property
    def failed(self) -> int:
        """All that failed, accepted or not."""
        return self.counts.get(ActionState.FAILED, 0)

    @property
    def gone(self) -> int:
        """That are not waited for."""
        return sum(self.counts.get(state, 0) for state in GONE)

    @property
    def under_way(self) -> int:
        """That have not ended."""
        return self.cameras - self.succeeded - self.failed - self.gone

    @property
    def is_begun(self) -> bool:
        """Its cameras' turn has come."""
        return self.state in {PhaseState.RUNNING, PhaseState.SOAKING, PhaseState.DONE}

    def is_met(self) -> bool:
        """Enough of its cameras run the package."""
        counted = self.cameras - self.gone - min(self.accepted or 0, self.failed)
        # Whole numbers on purpose, here and below: 0.29 * 100 is 28.999...
        return self.succeeded * 100 >= self.spec.success_percent * counted

    def has_failed(self) -> bool:
        """Too many of its cameras failed. A minimum that the phase cannot reach is as many as it has."""
        least = min(self.spec.failure_min, self.cameras)
        too_many = self.failed * 100 > self.spec.failure_percent * (self.failed + self.succeeded)
        return too_many and self.failed >= max(least, 1) and self.failed > (self.accepted or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A rollout at one moment."""

    state: RolloutState
    on_failure: OnFailure
    phases: Sequence[Phase]
    now: datetime
    to_the_last: bool = False
    """Cameras try again: it is not finished before each of them has ended."""


@dataclass(frozen=True, slots=True)
class StartPhase:
    """The phase's cameras get their turn."""

    number: int


@dataclass(frozen=True, slots=True)
class WaitForApproval:
    """The phase begins when a person says so."""

    number: int


@dataclass(frozen=True, slots=True)
class BeginSoak:
    """Enough of the phase's cameras run the package."""

    number: int


@dataclass(frozen=True, slots=True)
class LeaveSoak:
    """Not enough of them do any more."""

    number: int


@dataclass(frozen=True, slots=True)
class EndPhase:
    """The phase is done; what runs the package is good."""

    number: int


@dataclass(frozen=True, slots=True)
class LetIn:
    """Cameras of phases up to this one may be let in."""

    through: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The phase goes on soaking, for this reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """The rollout does not go on by itself."""

    how: OnFailure
    number: int
    reason: str
    by_masks: bool = False
    """The phase's masks are why."""


@dataclass(frozen=True, slots=True)
class Finish:
    """All phases are done."""


Decision: TypeAlias = StartPhase | WaitForApproval | BeginSoak | LeaveSoak | EndPhase | LetIn | Hold | Stop | Finish


def decide(snapshot: Snapshot) -> list[Decision]:
    """What is to be done now: at most one step of a phase, and whether cameras are let in. Nothing unless it runs."""
    if snapshot.state is not RolloutState.RUNNING:
        return []
    for phase in snapshot.phases:
        if phase.is_begun and phase.has_failed():
            return [Stop(snapshot.on_failure, phase.number, _too_many(phase))]
    current = next((phase for phase in snapshot.phases if phase.state is not PhaseState.DONE), None)
    step = _of_phase(snapshot, current) if current else _of_the_end(snapshot)
    return [*step, *_let_in(snapshot)] if not any(isinstance(each, Stop) for each in step) else step


def _too_many(phase: Phase) -> str:
    ended = phase.failed + phase.succeeded
    return f"phase {phase.number}: {phase.failed} of {ended} cameras failed, limit {phase.spec.failure_percent} %"


def _let_in(snapshot: Snapshot) -> list[Decision]:
    begun = [phase for phase in snapshot.phases if phase.is_begun]
    return [LetIn(begun[-1].number)] if any(phase.turn_to_come for phase in begun) else []


def _of_the_end(snapshot: Snapshot) -> list[Decision]:
    waiting = any(phase.turn_to_come or not phase.settled for phase in snapshot.phases)
    trying = snapshot.to_the_last and any(phase.under_way for phase in snapshot.phases)
    return [] if waiting or trying else [Finish()]


def _of_phase(snapshot: Snapshot, phase: Phase) -> list[Decision]:
    match phase.state:
        case PhaseState.RUNNING:
            return _of_running(snapshot, phase)
        case PhaseState.SOAKING:
            return _of_soaking(snapshot, phase)
        case _ if phase.spec.approval and not phase.approved:
            return [WaitForApproval(phase.number)] if phase.state is PhaseState.WAITING else []
        case _:
            return [StartPhase(phase.number)]


def _of_running(snapshot: Snapshot, phase: Phase) -> list[Decision]:
    if phase.is_met():
        return [_unproven(phase)] if _proves_nothing(snapshot, phase) else [BeginSoak(phase.number)]
    if phase.under_way:
        return []
    counted = phase.cameras - phase.gone
    told = f"{phase.succeeded} of {counted} cameras run the package, {phase.spec.success_percent} % must, and none is left"
    return [Stop(snapshot.on_failure, phase.number, f"phase {phase.number}: {told}")]


def _proves_nothing(snapshot: Snapshot, phase: Phase) -> bool:
    """Every camera is gone, none has run the package in any phase, and others would be next."""
    later = any(other.cameras for other in snapshot.phases if other.number > phase.number)
    tried = phase.cameras > 0 and phase.cameras == phase.gone and phase.spec.success_percent > 0
    return later and tried and phase.accepted is None and not any(other.succeeded for other in snapshot.phases)


def _unproven(phase: Phase) -> Stop:
    told = f"phase {phase.number}: none of its {phase.cameras} cameras could be reached, so nothing is known of the package"
    return Stop(OnFailure.PAUSE, phase.number, told)


def _of_soaking(snapshot: Snapshot, phase: Phase) -> list[Decision]:
    if not phase.is_met():
        return [LeaveSoak(phase.number)]
    if gate := _of_quality(snapshot, phase):
        return [gate]
    since = phase.soaking_since or snapshot.now
    soaked = phase.cameras == 0 or snapshot.now - since >= timedelta(seconds=phase.spec.soak_s)
    return [EndPhase(phase.number)] if soaked else []


def _of_quality(snapshot: Snapshot, phase: Phase) -> Hold | Stop | None:
    gate = phase.spec.quality
    if gate is None or phase.masks_accepted or phase.succeeded == 0:
        return None
    if phase.samples < gate.min_samples or phase.agreement is None:
        return Hold(f"phase {phase.number}: {phase.samples} of {gate.min_samples} sampled masks are compared")
    if phase.agreement < gate.min_agreement:
        told = f"masks agree with the reference model by {phase.agreement:.3f}, at least {gate.min_agreement:g} is asked"
        return Stop(snapshot.on_failure, phase.number, f"phase {phase.number}: {told}", by_masks=True)
    return None
