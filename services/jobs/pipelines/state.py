"""A pipeline out of the database as the rules see it, and back."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.pipelines import repository, verdict
from services.jobs.pipelines.domain import Standing, Step
from services.jobs.pipelines.models import Pipeline, PipelineStep
from services.jobs.pipelines.references import Parameter, Reference, dig
from shared.contracts.jobs import JobError
from shared.contracts.pipelines import Gate, StepState
from shared.kit.database import db_now


@dataclass(frozen=True, slots=True)
class Loaded:
    """A pipeline with its steps and their newest jobs."""

    pipeline: Pipeline
    steps: dict[str, PipelineStep]
    jobs: dict[str, Job]

    @property
    def standing(self) -> Standing:
        """As the rules see it."""
        steps = {name: Step(frozenset(step.after), step.state) for name, step in self.steps.items()}
        return Standing(steps, self.pipeline.state)

    def value(self, reference: Reference) -> Any:
        """What a reference means now. KeyError, naming it, if a job has not made what was expected of it."""
        try:
            return self._value(reference)
        except KeyError as exc:
            raise KeyError(str(reference)) from exc

    def _value(self, reference: Reference) -> Any:
        if isinstance(reference, Parameter):
            return dig(self.pipeline.parameters[reference.name], reference.path)
        job = self.jobs[reference.step]
        if reference.what == "job":
            return job.id
        if reference.what == "result":
            return dig(job.result, reference.path)
        model = verdict.model_of(job)
        if model is None:
            raise KeyError(reference.step)
        return model

    def judged(self, session: Session, name: str) -> verdict.Verdict | None:
        """What the step's newest job means for it; None while that is open."""
        job = self.jobs[name]
        refused = repository.refused_registration(session, job.id) if verdict.registering(job) else None
        gates = [Gate.model_validate(gate) for gate in self.steps[name].gates]
        return verdict.of(job, gates, self.value, refused)

    def store(self, session: Session, after: Standing, errors: dict[str, JobError] | None = None) -> None:
        """Write what has changed. ``errors``: of the steps that did not end well."""
        now = db_now(session)
        for name, step in self.steps.items():
            if after.steps[name].state is not step.state:
                _move(step, after.steps[name].state, (errors or {}).get(name), now)
        self.pipeline.state = after.state
        if not after.state.is_final:
            self.pipeline.finished_at = None
        elif self.pipeline.finished_at is None:
            self.pipeline.finished_at = now
        session.flush()


def load(session: Session, pipeline: Pipeline) -> Loaded:
    """With its row's lock held where something is to be changed."""
    steps = {step.name: step for step in repository.steps_of(session, [pipeline.id])[pipeline.id]}
    return Loaded(pipeline, steps, repository.newest_jobs(session, pipeline.id))


def _move(step: PipelineStep, state: StepState, error: JobError | None, now: datetime) -> None:
    step.state = state
    step.error = error.model_dump(mode="json") if error else None
    step.waiting_for = None
    if state is StepState.WAITING:
        step.started_at = step.finished_at = None
    elif state is StepState.RUNNING:
        step.started_at, step.finished_at = now, None
    else:
        step.finished_at = now
