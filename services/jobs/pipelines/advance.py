"""Takes pipelines a step further: idempotent, by any number of replicas, after any crash.

What is to be done is read out of the rows each time: a job's end is carried over to its step, then each step whose turn it is
gets its job. Every change holds the lock of the pipeline's row; a step and its job are written in one transaction.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from sqlalchemy.orm import Session

from services.jobs.jobs import service as jobs
from services.jobs.jobs import submission
from services.jobs.jobs.errors import JobChanged, JobNotCancellable, JobNotRetryable
from services.jobs.jobs.models import Job
from services.jobs.pipelines import repository, specs, state
from services.jobs.pipelines.models import PipelineRun, PipelineStep
from services.jobs.pipelines.references import replace
from services.jobs.pipelines.verdict import Verdict, registering
from services.jobs.runtime import Services
from shared.contracts.jobs import JobError, JobParent, JobState
from shared.contracts.pipelines import PipelineState, StepState
from shared.kit.database import begin_reading
from shared.kit.problems import Problem, Unavailable

log = structlog.get_logger(__name__)

ERRORS: Final = "cannot_be_submitted"


def tick(services: Services) -> None:
    """Take every pipeline that is not over as far as it goes."""
    with services.sessions.begin() as session:
        begin_reading(session)
        ids = repository.active_ids(session)
    for pipeline_id in ids:
        if services.stopping.is_set():
            return
        try:
            advance(services, pipeline_id)
        except Exception:  # one pipeline's defect must not stop the others
            log.exception("pipelines.advance_failed", pipeline_id=pipeline_id)


def advance(services: Services, pipeline_id: str) -> None:
    """Carry jobs' ends over to their steps, then start what can start."""
    with services.sessions.begin() as session:
        pipeline = repository.locked(session, pipeline_id)
        if pipeline is None or pipeline.state.is_final:
            return
        ready = settle(session, state.load(session, pipeline))
    for name in ready:
        _start(services, pipeline_id, name)


def settle(session: Session, loaded: state.Loaded) -> list[str]:
    """Carry jobs' ends over to their steps; returns the steps whose turn it is. The pipeline's row is locked."""
    standing, errors = loaded.standing, dict[str, JobError]()
    for name in [name for name, step in standing.steps.items() if step.state is StepState.RUNNING]:
        verdict = _stopped(session, loaded, name) if standing.state is PipelineState.CANCELLING else None
        verdict = verdict or loaded.judged(session, name)
        if verdict is not None:
            standing = standing.ended(name, verdict.outcome)
            errors |= {name: verdict.error} if verdict.error else {}
    if standing != loaded.standing:
        loaded.store(session, standing, errors)
        log.info("pipelines.moved", pipeline_id=loaded.pipeline.id, state=standing.state)
    return standing.ready()


def _stopped(session: Session, loaded: state.Loaded, name: str) -> Verdict | None:
    """Stop the step's job. Whether the registry takes its model is not waited for: a retry finds it."""
    job = loaded.jobs[name]
    if not job.state.is_final:
        with suppress(JobNotCancellable):
            jobs.cancel(session, job.id)
            session.refresh(job)
    return Verdict(StepState.CANCELLED) if job.state is JobState.SUCCEEDED and registering(job) else None


# Starting a step


def _start(services: Services, pipeline_id: str, name: str) -> None:
    """Give a step its job. What the registry knows is asked before the transaction; then the step is looked at again."""
    with services.sessions.begin() as session:
        begin_reading(session)
        pipeline = repository.find(session, pipeline_id)
        if pipeline is None:
            return
        loaded = state.load(session, pipeline)
        basis = _basis(loaded, name)
    try:
        document = _document(loaded, name)
        body = submission.parse(loaded.steps[name].kind, document, place="spec")
        wanted = submission.look_up(services, body, place="spec")
        with services.sessions.begin() as session:
            _submit(session, pipeline_id, name, basis, wanted)
    except (JobChanged, JobNotRetryable):
        return  # somebody else has just taken the job up; the next tick sees it
    except Unavailable as problem:
        _postpone(services, pipeline_id, name, problem)
    except Problem as problem:
        _refuse(services, pipeline_id, name, basis, _told(problem))
    except KeyError as exc:
        _refuse(services, pipeline_id, name, basis, _lacking(str(exc.args[0])))


def _basis(loaded: state.Loaded, name: str) -> Mapping[str, Any]:
    """Which jobs the step builds on: if another one was made meanwhile, what was read of the old one is void."""
    return {before: loaded.jobs[before].id for before in loaded.steps[name].after if before in loaded.jobs}


def _document(loaded: state.Loaded, name: str) -> dict[str, Any]:
    pipeline = loaded.pipeline
    document = specs.complete(loaded.steps[name].spec, pipeline.tags, f"{pipeline.name}/{name}")
    filled: dict[str, Any] = replace(document, loaded.value)
    return filled


def _waiting(session: Session, pipeline_id: str, name: str, basis: Mapping[str, Any]) -> state.Loaded | None:
    """The pipeline, locked, if it is still the step's turn on the same basis."""
    pipeline = repository.locked(session, pipeline_id)
    if pipeline is None:
        return None
    loaded = state.load(session, pipeline)
    return loaded if name in loaded.standing.ready() and _basis(loaded, name) == basis else None


def _submit(session: Session, pipeline_id: str, name: str, basis: Mapping[str, Any], wanted: submission.Wanted) -> None:
    loaded = _waiting(session, pipeline_id, name, basis)
    if loaded is None:
        return
    step, owner = loaded.steps[name], loaded.pipeline.owner
    job = loaded.jobs.get(name)
    if not (step.take_up and job is not None and _taken_up(session, job, wanted)):
        parent = JobParent(kind="pipeline", id=pipeline_id, part=name)
        job = submission.submit(session, wanted, owner=owner, parent=parent)
        step.runs += 1
        session.add(PipelineRun(pipeline_id=pipeline_id, step=name, run=step.runs, job_id=job.id))
    step.take_up = False
    loaded.store(session, loaded.standing.started(name))
    log.info("pipelines.step_started", pipeline_id=pipeline_id, step=name, job_id=job.id, run=step.runs)


def _taken_up(session: Session, job: Job, wanted: submission.Wanted) -> bool:
    """Go on with the step's earlier job, if it would be told the same again."""
    if job.spec != wanted.spec.model_dump(mode="json"):
        return False
    submission.check(session, wanted)
    if job.state in {JobState.FAILED, JobState.CANCELLED}:
        jobs.retry(session, job.id)
    return True


def _postpone(services: Services, pipeline_id: str, name: str, problem: Problem) -> None:
    with services.sessions.begin() as session:
        step = _locked_step(session, pipeline_id, name)
        if step is not None and step.state is StepState.WAITING:
            step.waiting_for = f"{problem.title}: {problem.detail}"
    log.warning("pipelines.postponed", pipeline_id=pipeline_id, step=name, error=problem.detail)


def _locked_step(session: Session, pipeline_id: str, name: str) -> PipelineStep | None:
    pipeline = repository.locked(session, pipeline_id)
    return None if pipeline is None else session.get(PipelineStep, (pipeline_id, name), populate_existing=True)


def _refuse(services: Services, pipeline_id: str, name: str, basis: Mapping[str, Any], error: JobError) -> None:
    with services.sessions.begin() as session:
        loaded = _waiting(session, pipeline_id, name, basis)
        if loaded is not None:
            loaded.store(session, loaded.standing.refused(name), {name: error})
    log.warning("pipelines.refused", pipeline_id=pipeline_id, step=name, error=error.message)


def _told(problem: Problem) -> JobError:
    errors = problem.members.get("errors") or [{}]
    hint = problem.members.get("hint") or errors[0].get("hint") or problem.hint
    again = "correct what the step needs, then retry the pipeline"
    return JobError(type=ERRORS, message=problem.detail, hint=f"{hint}; {again}" if hint else again)


def _lacking(reference: str) -> JobError:
    hint = "see the result of that step's job for what it has; then submit a pipeline that refers to it"
    return JobError(type=ERRORS, message=f"${{{reference}}} has no value: the step did not make it.", hint=hint)
