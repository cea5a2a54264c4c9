"""The states of a job and every allowed move between them. Pure: no clock, no database, no HTTP.

queued -> running -> succeeded
   |         |----> failed            (its own error, or too many lost attempts)
   |         |----> cancelling -> cancelled
   |         `----> lost -> queued    (the lease ran out, or the work died without a word)
   |----> cancelled
   `----> failed                      (what it needs is gone)

failed, cancelled -> queued           (a retry)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from shared.contracts.jobs import JobError, JobState

MAX_LOST_ATTEMPTS: Final = 5

ALLOWED: Final[Mapping[JobState, frozenset[JobState]]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING, JobState.LOST}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED}),
    JobState.LOST: frozenset({JobState.QUEUED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}

HELD: Final = frozenset({JobState.RUNNING, JobState.CANCELLING})
"""States in which a worker holds the job under a lease."""


class Outcome(StrEnum):
    """How an attempt ended, as its worker tells."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


class IllegalMove(Exception):
    """The state machine has no such move; ``state`` is where the job stands."""

    def __init__(self, state: JobState, wanted: str) -> None:
        super().__init__(f"a job that is {state} cannot {wanted}")
        self.state = state


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that the rules know of a job. Every rule returns the standings that follow, one per move."""

    state: JobState = JobState.QUEUED
    attempt: int = 0
    """Claims so far; also the fencing token of the newest claim, since it only ever grows."""
    lost_attempts: int = 0
    """Attempts that ended without a word, since the submission or the last retry."""
    error: JobError | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.lost_attempts <= min(self.attempt, MAX_LOST_ATTEMPTS):
            raise ValueError(f"lost_attempts must be in 0..{min(self.attempt, MAX_LOST_ATTEMPTS)}, got {self.lost_attempts}")
        if (self.error is not None) != (self.state is JobState.FAILED):
            raise ValueError(f"a job has an error exactly when it failed, this one is {self.state}")

    def _to(self, state: JobState, wanted: str, **changes: Any) -> "Standing":
        if state not in ALLOWED[self.state]:
            raise IllegalMove(self.state, wanted)
        return replace(self, state=state, **changes)

    def claimed(self) -> "Standing":
        """A worker takes the job: a new attempt, a new token."""
        return self._to(JobState.RUNNING, "be claimed", attempt=self.attempt + 1)

    def cancelled(self) -> "Standing":
        """The user wants no more: at once while nobody holds the job, else the holder is asked to stop. Idempotent."""
        if self.state in {JobState.CANCELLING, JobState.CANCELLED}:
            return self
        return self._to(JobState.CANCELLING if self.state is JobState.RUNNING else JobState.CANCELLED, "be cancelled")

    def retried(self) -> "Standing":
        """The user wants it again: lost attempts are forgiven."""
        return self._to(JobState.QUEUED, "be retried", lost_attempts=0, error=None)

    def finished(self, outcome: Outcome, error: JobError | None = None) -> "tuple[Standing, ...]":
        """The holder's last word. Once a stop was asked for, every outcome is `cancelled`.

        An unasked `cancelled` is a worker that gives the job back, as at its own shutdown: queued again, not counted.
        """
        if self.state is JobState.CANCELLING:
            return (self._to(JobState.CANCELLED, "finish"),)
        match outcome:
            case Outcome.SUCCEEDED:
                return (self._to(JobState.SUCCEEDED, "finish"),)
            case Outcome.FAILED:
                return (self._to(JobState.FAILED, "finish", error=error),)
            case Outcome.CANCELLED:
                lost = self._to(JobState.LOST, "finish")
                return lost, lost._to(JobState.QUEUED, "be queued again")
            case Outcome.CRASHED:
                return self._lost(error)

    def expired(self) -> "tuple[Standing, ...]":
        """The lease ran out: nobody has heard of the holder."""
        if self.state is JobState.CANCELLING:
            return (self._to(JobState.CANCELLED, "expire"),)
        return self._lost(None)

    def doomed(self, error: JobError) -> "Standing":
        """What the job needs is gone for good. A job that is being cancelled becomes cancelled."""
        if self.state is JobState.CANCELLING:
            return self._to(JobState.CANCELLED, "fail")
        return self._to(JobState.FAILED, "fail", error=error)

    def _lost(self, error: JobError | None) -> "tuple[Standing, ...]":
        lost = self._to(JobState.LOST, "be lost", lost_attempts=self.lost_attempts + 1)
        if lost.lost_attempts < MAX_LOST_ATTEMPTS:
            return lost, lost._to(JobState.QUEUED, "be queued again")
        return lost, lost._to(JobState.FAILED, "fail", error=error or _worker_lost())


def _worker_lost() -> JobError:
    return JobError(
        type="worker_lost",
        message=f"{MAX_LOST_ATTEMPTS} attempts ended without a word from their worker.",
        hint="read the job's log: most often the machine ran out of memory (a smaller batch_size helps) or was switched "
        "off; then retry the job, which goes on from its last checkpoint",
    )
