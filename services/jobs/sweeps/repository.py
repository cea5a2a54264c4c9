"""Every statement on the tables of sweeps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.sweeps.models import Sweep, SweepTrial
from shared.contracts.pipelines import PipelineState


def find(session: Session, sweep_id: str) -> Sweep | None:
    """The sweep, or None."""
    return session.get(Sweep, sweep_id)


def locked(session: Session, sweep_id: str) -> Sweep | None:
    """The sweep with its row locked: whoever holds the lock may change it and its trials."""
    query = select(Sweep).where(Sweep.id == sweep_id)
    return session.scalar(query.with_for_update().execution_options(populate_existing=True))


def unfinished_ids(session: Session) -> Sequence[str]:
    """Sweeps that are not over, or whose MLflow run does not say so yet; oldest first."""
    return session.scalars(select(Sweep.id).where(Sweep.run_closed.is_(False)).order_by(Sweep.id)).all()


def filtered(states: Sequence[PipelineState], name: str | None) -> Select[Sweep]:
    """The query of the sweeps that match."""
    query = select(Sweep)
    if states:
        query = query.where(Sweep.state.in_(states))
    return query if name is None else query.where(Sweep.name == name)


def trials_of(session: Session, sweep_ids: Iterable[str]) -> dict[str, list[SweepTrial]]:
    """Trials by sweep, in order."""
    query = select(SweepTrial).where(SweepTrial.sweep_id.in_(list(sweep_ids))).order_by(SweepTrial.number)
    found: defaultdict[str, list[SweepTrial]] = defaultdict(list)
    for trial in session.scalars(query.execution_options(populate_existing=True)):
        found[trial.sweep_id].append(trial)
    return found


def jobs(session: Session, job_ids: Iterable[str]) -> dict[str, Job]:
    """Jobs by id, as they are now."""
    query = select(Job).where(Job.id.in_(list(job_ids))).execution_options(populate_existing=True)
    return {job.id: job for job in session.scalars(query)}
