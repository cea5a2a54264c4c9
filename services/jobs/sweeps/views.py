"""Sweeps as users see them."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.runtime import Services
from services.jobs.sweeps import repository, state
from services.jobs.sweeps.models import Sweep, SweepTrial
from shared.contracts.pipelines import SweepOut, TrialOut


def one(session: Session, services: Services, sweep: Sweep) -> SweepOut:
    """A single sweep with its trials."""
    loaded = state.load(session, sweep)
    jobs = repository.jobs(session, [trial.job_id for trial in loaded.trials if trial.job_id])
    trials = [_trial(services, trial, jobs) for trial in loaded.trials]
    return _sweep(services, loaded, jobs).model_copy(update={"trials": trials})


def many(session: Session, services: Services, sweeps: Sequence[Sweep]) -> list[SweepOut]:
    """Sweeps in the order given, without their trials but the best."""
    trials = repository.trials_of(session, [sweep.id for sweep in sweeps])
    loaded = [state.Loaded(sweep, trials[sweep.id]) for sweep in sweeps]
    best = [each.best for each in loaded]
    jobs = repository.jobs(session, [trial.job_id for trial in best if trial is not None and trial.job_id])
    return [_sweep(services, each, jobs) for each in loaded]


def _sweep(services: Services, loaded: state.Loaded, jobs: Mapping[str, Job]) -> SweepOut:
    sweep = loaded.sweep
    return SweepOut(
        id=sweep.id,
        name=sweep.name,
        owner=sweep.owner,
        tags=sweep.tags,
        base=sweep.base,
        search=sweep.search,
        objective=sweep.objective,
        parallel=sweep.parallel,
        max_failed=sweep.max_failed,
        state=sweep.state,
        total=sweep.total,
        counts=Counter(trial.state for trial in loaded.trials),
        best=_trial(services, loaded.best, jobs) if loaded.best else None,
        waiting_for=sweep.waiting_for,
        mlflow_run_id=sweep.mlflow_run_id,
        mlflow_url=services.run_url(sweep.mlflow_run_id),
        error=sweep.error,
        created_at=sweep.created_at,
        finished_at=sweep.finished_at,
    )


def _trial(services: Services, trial: SweepTrial, jobs: Mapping[str, Job]) -> TrialOut:
    job = jobs.get(trial.job_id or "")
    return TrialOut(
        number=trial.number,
        state=trial.state,
        values=trial.chosen,
        figure=trial.figure,
        job_id=trial.job_id,
        mlflow_url=services.run_url(job.mlflow_run_id) if job else None,
        error=trial.error,
        started_at=trial.started_at,
        finished_at=trial.finished_at,
    )
