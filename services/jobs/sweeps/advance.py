"""Takes sweeps further: carries jobs' ends over to their trials, starts the next ones, tells the parent run.

Idempotent, by any number of replicas, after any crash: what is to be done is read out of the rows each time, every change
holds the lock of the sweep's row, and a trial and its job are written in one transaction.
"""

from contextlib import suppress
from typing import Any, Final

import structlog
from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from services.jobs.jobs import service as jobs
from services.jobs.jobs import submission
from services.jobs.jobs.errors import JobNotCancellable
from services.jobs.pipelines.specs import complete
from services.jobs.runtime import Services
from services.jobs.sweeps import parent_run, proposals, repository, state
from services.jobs.sweeps.domain import Standing
from services.jobs.sweeps.models import Sweep, SweepTrial
from services.jobs.sweeps.values import NoSuchPlace, combination, put_in
from shared.contracts.jobs import JobError, JobKind, JobParent
from shared.contracts.pipelines import PipelineState, Search, TrialState
from shared.kit.database import begin_reading, db_now
from shared.kit.mlflow_api import MlflowAway, MlflowError
from shared.kit.problems import Problem, Unavailable

log = structlog.get_logger(__name__)

_SEARCH: Final[TypeAdapter[Search]] = TypeAdapter(Search)


def tick(services: Services) -> None:
    """Take every sweep that is not over as far as it goes."""
    with services.sessions.begin() as session:
        begin_reading(session)
        ids = repository.unfinished_ids(session)
    for sweep_id in ids:
        if services.stopping.is_set():
            return
        try:
            advance(services, sweep_id)
        except Exception:  # one sweep's defect must not stop the others
            log.exception("sweeps.advance_failed", sweep_id=sweep_id)


def advance(services: Services, sweep_id: str) -> None:
    """Carry jobs' ends over, start what can start, tell MLflow."""
    changed = _settle(services, sweep_id)
    if _has_run(services, sweep_id):
        while not services.stopping.is_set() and _start_one(services, sweep_id):
            changed = True
    _tell(services, sweep_id, changed=changed)


def _settle(services: Services, sweep_id: str) -> bool:
    with services.sessions.begin() as session:
        sweep = repository.locked(session, sweep_id)
        return sweep is not None and settle(session, state.load(session, sweep))


def settle(session: Session, loaded: state.Loaded) -> bool:
    """Carry jobs' ends over to their trials; True if something ended. The sweep's row is locked."""
    running = [trial for trial in loaded.trials if trial.state is TrialState.RUNNING]
    found = repository.jobs(session, [trial.job_id for trial in running if trial.job_id])
    before = standing = loaded.standing
    for trial in running:
        job = found[str(trial.job_id)]
        if standing.state is PipelineState.CANCELLING and not job.state.is_final:
            with suppress(JobNotCancellable):
                jobs.cancel(session, job.id)
                session.refresh(job)
        end = state.end_of(job, loaded.objective)
        if end is not None:
            _end(trial, *end)
            trial.finished_at = job.finished_at or db_now(session)
            standing = standing.ended(trial.number, trial.state)
    loaded.store(session, standing)
    session.flush()
    return standing != before


def _end(trial: SweepTrial, outcome: TrialState, figure: float | None, error: JobError | None) -> None:
    trial.state, trial.figure = outcome, figure
    trial.error = error.model_dump(mode="json") if error else None


# The parent run


def _has_run(services: Services, sweep_id: str) -> bool:
    """True if trials may start: their parent in MLflow is there. While MLflow is away the sweep says that it waits."""
    with services.sessions.begin() as session:
        begin_reading(session)
        sweep = repository.find(session, sweep_id)
    if sweep is None or sweep.state is not PipelineState.RUNNING:
        return False
    if sweep.mlflow_run_id is not None:
        return True
    try:
        run_id = parent_run.ensure(services.mlflow, sweep)
    except MlflowError as exc:
        _wait(services, sweep_id, f"MLflow, which is to have the run above the trials: {exc}")
        return False
    with services.sessions.begin() as session:
        current = repository.locked(session, sweep_id)
        if current is None:
            return False
        current.mlflow_run_id, current.waiting_for = current.mlflow_run_id or run_id, None
    if current.mlflow_run_id != run_id:  # another replica was faster
        with suppress(MlflowError):
            services.mlflow.update_run(run_id, status="KILLED")
    return True


def _wait(services: Services, sweep_id: str, why: str) -> None:
    with services.sessions.begin() as session:
        sweep = repository.locked(session, sweep_id)
        if sweep is not None and not sweep.state.is_final:
            sweep.waiting_for = why
    log.warning("sweeps.postponed", sweep_id=sweep_id, error=why)


def _tell(services: Services, sweep_id: str, *, changed: bool) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        sweep = repository.find(session, sweep_id)
        if sweep is None or not (changed or sweep.state.is_final):
            return
        loaded = state.load(session, sweep)
        best_job = loaded.best.job_id if loaded.best else None
        best_run = jobs.get(session, best_job).mlflow_run_id if best_job else None
    try:
        if sweep.mlflow_run_id is not None:
            parent_run.tell(services.mlflow, sweep.mlflow_run_id, loaded, best_run)
    except MlflowAway as exc:
        log.warning("sweeps.untold", sweep_id=sweep_id, error=str(exc))
        return  # told at the next tick: only a run that was told of the end is closed
    except MlflowError as exc:
        log.error("sweeps.run_refused", sweep_id=sweep_id, error=str(exc))
    if sweep.state.is_final:
        with services.sessions.begin() as session:
            session.get_one(Sweep, sweep_id).run_closed = True


# Starting a trial


def _start_one(services: Services, sweep_id: str) -> bool:
    """Start the next trial; False if none can start now. Optuna and the registry are asked before the transaction."""
    with services.sessions.begin() as session:
        begin_reading(session)
        sweep = repository.find(session, sweep_id)
        if sweep is None:
            return False
        loaded = state.load(session, sweep)
    if loaded.standing.room == 0:
        return False
    number, chosen = len(loaded.trials), _next(loaded)
    try:
        wanted = submission.look_up(services, _body(loaded.sweep, number, chosen), place="spec")
        with services.sessions.begin() as session:
            return _submit(session, sweep_id, number, chosen, wanted)
    except Unavailable as problem:
        _wait(services, sweep_id, f"{problem.title}: {problem.detail}")
        return False
    except (Problem, NoSuchPlace) as exc:
        return _refuse(services, sweep_id, number, chosen, _told(exc))


def _next(loaded: state.Loaded) -> dict[str, Any]:
    """The values of the next trial."""
    search = _SEARCH.validate_python(loaded.sweep.search)
    if search.kind == "grid":
        return combination(search, len(loaded.trials))
    past = [proposals.Past(trial.chosen, trial.state, trial.figure) for trial in loaded.trials]
    return proposals.propose(search, loaded.objective, past)


def _body(sweep: Sweep, number: int, chosen: dict[str, Any]) -> submission.Body:
    spec = complete(sweep.base["spec"], sweep.tags, f"{sweep.name}/{number}")
    return submission.parse(JobKind(sweep.base["kind"]), put_in(spec, chosen), place="spec")


def _room(session: Session, sweep_id: str, number: int) -> tuple[state.Loaded, Standing] | None:
    """The sweep, locked, if the next trial is still ``number``."""
    sweep = repository.locked(session, sweep_id)
    if sweep is None:
        return None
    loaded = state.load(session, sweep)
    return (loaded, loaded.standing) if loaded.standing.room and len(loaded.trials) == number else None


def _submit(session: Session, sweep_id: str, number: int, chosen: dict[str, Any], wanted: submission.Wanted) -> bool:
    found = _room(session, sweep_id, number)
    if found is None:
        return False
    loaded, standing = found
    parent = JobParent(kind="sweep", id=sweep_id, part=str(number))
    run_id = loaded.sweep.mlflow_run_id
    job = submission.submit(session, wanted, owner=loaded.sweep.owner, parent=parent, parent_run_id=run_id)
    session.add(SweepTrial(sweep_id=sweep_id, number=number, chosen=chosen, job_id=job.id, started_at=db_now(session)))
    loaded.sweep.waiting_for = None
    loaded.store(session, standing.begun())
    log.info("sweeps.trial_started", sweep_id=sweep_id, number=number, job_id=job.id)
    return True


def _refuse(services: Services, sweep_id: str, number: int, chosen: dict[str, Any], error: JobError) -> bool:
    """Note a trial that cannot run with these values; the next one may."""
    with services.sessions.begin() as session:
        found = _room(session, sweep_id, number)
        if found is None:
            return False
        loaded, standing = found
        now = db_now(session)
        trial = SweepTrial(sweep_id=sweep_id, number=number, chosen=chosen, started_at=now, finished_at=now)
        _end(trial, TrialState.FAILED, None, error)
        session.add(trial)
        loaded.trials.append(trial)
        loaded.store(session, standing.begun(TrialState.FAILED))
    log.warning("sweeps.trial_refused", sweep_id=sweep_id, number=number, error=error.message)
    return True


def _told(exc: Problem | NoSuchPlace) -> JobError:
    hint = getattr(exc, "hint", None) or "leave such values out of the search of a new sweep"
    return JobError(type="cannot_be_submitted", message=getattr(exc, "detail", str(exc)), hint=hint)
