"""Every statement on the tables of pipelines."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.models.models import ModelVersion, RegistrationState
from services.jobs.pipelines.models import Pipeline, PipelineRun, PipelineStep
from shared.contracts.pipelines import PipelineState

ACTIVE = (PipelineState.RUNNING, PipelineState.CANCELLING)


def find(session: Session, pipeline_id: str) -> Pipeline | None:
    """The pipeline, or None."""
    return session.get(Pipeline, pipeline_id)


def locked(session: Session, pipeline_id: str) -> Pipeline | None:
    """The pipeline with its row locked: whoever holds the lock may change it and its steps."""
    query = select(Pipeline).where(Pipeline.id == pipeline_id)
    return session.scalar(query.with_for_update().execution_options(populate_existing=True))


def active_ids(session: Session) -> Sequence[str]:
    """Pipelines that are not over, oldest first."""
    return session.scalars(select(Pipeline.id).where(Pipeline.state.in_(ACTIVE)).order_by(Pipeline.id)).all()


def filtered(states: Sequence[PipelineState], name: str | None) -> Select[Pipeline]:
    """The query of the pipelines that match."""
    query = select(Pipeline)
    if states:
        query = query.where(Pipeline.state.in_(states))
    return query if name is None else query.where(Pipeline.name == name)


def steps_of(session: Session, pipeline_ids: Iterable[str]) -> dict[str, list[PipelineStep]]:
    """Steps by pipeline, in an order in which they could run."""
    query = select(PipelineStep).where(PipelineStep.pipeline_id.in_(list(pipeline_ids)))
    found: defaultdict[str, list[PipelineStep]] = defaultdict(list)
    for step in session.scalars(query.order_by(PipelineStep.position).execution_options(populate_existing=True)):
        found[step.pipeline_id].append(step)
    return found


def runs_of(session: Session, pipeline_ids: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Ids of the jobs made for each step, oldest first, by pipeline and step."""
    query = select(PipelineRun).where(PipelineRun.pipeline_id.in_(list(pipeline_ids))).order_by(PipelineRun.run)
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for run in session.scalars(query):
        found[run.pipeline_id, run.step].append(run.job_id)
    return found


def jobs(session: Session, job_ids: Iterable[str]) -> dict[str, Job]:
    """Jobs by id, as they are now."""
    query = select(Job).where(Job.id.in_(list(job_ids))).execution_options(populate_existing=True)
    return {job.id: job for job in session.scalars(query)}


def newest_jobs(session: Session, pipeline_id: str) -> dict[str, Job]:
    """The newest job of each step that has one."""
    newest = {step: ids[-1] for (_, step), ids in runs_of(session, [pipeline_id]).items()}
    found = jobs(session, newest.values())
    return {step: found[job_id] for step, job_id in newest.items()}


def refused_registration(session: Session, job_id: str) -> str | None:
    """Why the registry has refused a model of the job for good; None if it has not."""
    query = select(ModelVersion).where(ModelVersion.job_id == job_id, ModelVersion.state == RegistrationState.FAILED)
    row = session.scalars(query.limit(1)).one_or_none()
    return None if row is None else row.error or "MLflow refused it"
