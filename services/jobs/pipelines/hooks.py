"""What the rest of the service tells pipelines and sweeps."""

from typing import Final

from sqlalchemy.orm import Session

from services.jobs.jobs import signals
from services.jobs.jobs.models import Job

PIPELINES: Final = "pipelines.advance"
"""The loop that takes pipelines a step further."""
SWEEPS: Final = "sweeps.advance"

_LOOPS: Final = {"pipeline": PIPELINES, "sweep": SWEEPS}


def job_changed(session: Session, job: Job) -> None:
    """Call it when a job has ended or got its version's number: what it is part of goes on after the commit.

    Takes no lock and decides nothing: the loop looks for itself, and looks anyway every few seconds. Without a parent
    nothing happens.
    """
    if job.parent_kind in _LOOPS:
        signals.of(session).loops.add(_LOOPS[job.parent_kind])
