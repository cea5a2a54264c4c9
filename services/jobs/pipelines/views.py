"""Pipelines as users see them, with their steps and what their jobs are doing."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from services.jobs.jobs import views as jobs
from services.jobs.jobs.models import Job
from services.jobs.pipelines import repository, verdict
from services.jobs.pipelines.models import Pipeline, PipelineStep
from services.jobs.runtime import Services
from shared.contracts.jobs import JobError, JobOut, JobState
from shared.contracts.pipelines import PipelineOut, StepOut, StepState


def one(session: Session, services: Services, pipeline: Pipeline) -> PipelineOut:
    """A single pipeline."""
    return many(session, services, [pipeline])[0]


def many(session: Session, services: Services, pipelines: Sequence[Pipeline]) -> list[PipelineOut]:
    """Pipelines in the order given."""
    ids = [pipeline.id for pipeline in pipelines]
    steps, runs = repository.steps_of(session, ids), repository.runs_of(session, ids)
    rows = repository.jobs(session, {job_ids[-1] for job_ids in runs.values()})
    shown = {job.id: job for job in jobs.many(session, services, list(rows.values()))}

    def step_out(step: PipelineStep) -> StepOut:
        job_ids = runs.get((step.pipeline_id, step.name), [])
        return _step(step, job_ids, rows[job_ids[-1]], shown[job_ids[-1]]) if job_ids else _without_job(step)

    return [_pipeline(pipeline, [step_out(step) for step in steps[pipeline.id]]) for pipeline in pipelines]


def _pipeline(pipeline: Pipeline, steps: list[StepOut]) -> PipelineOut:
    errors = [step.error.model_copy(update={"message": f"{step.name}: {step.error.message}"}) for step in steps if step.error]
    return PipelineOut(
        id=pipeline.id,
        name=pipeline.name,
        template=pipeline.template,
        owner=pipeline.owner,
        tags=pipeline.tags,
        parameters=pipeline.parameters,
        state=pipeline.state,
        steps=steps,
        error=errors[0] if errors else None,
        created_at=pipeline.created_at,
        finished_at=pipeline.finished_at,
    )


def _without_job(step: PipelineStep) -> StepOut:
    return StepOut(
        name=step.name,
        kind=step.kind,
        spec=step.spec,
        after=step.after,
        gates=step.gates,
        state=step.state,
        waiting_for=step.waiting_for,
        error=JobError.model_validate(step.error) if step.error else None,
        started_at=step.started_at,
        finished_at=step.finished_at,
    )


def _step(step: PipelineStep, job_ids: list[str], row: Job, job: JobOut) -> StepOut:
    if step.state in {StepState.WAITING, StepState.SKIPPED}:
        # What an earlier run made is not what this one will make.
        return _without_job(step).model_copy(update={"job_ids": job_ids})
    seen = {
        "job_id": job.id,
        "job_ids": job_ids,
        "job_state": job.state,
        "progress": None if job.state.is_final else job.progress,
        "waiting_for": _waiting_for(step, row, job),
        "model": verdict.model_of(row),
        "result": job.result,
        "mlflow_url": job.mlflow_url,
    }
    return _without_job(step).model_copy(update=seen)


def _waiting_for(step: PipelineStep, row: Job, job: JobOut) -> str | None:
    if step.state is StepState.RUNNING and job.state is JobState.SUCCEEDED and verdict.registering(row):
        return "the model registry to take the job's model"
    return job.waiting_for
