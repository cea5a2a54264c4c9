"""Decisions on pipelines that users ask for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from services.jobs.jobs import signals, submission
from services.jobs.pipelines import advance, repository, specs, state
from services.jobs.pipelines.domain import IllegalMove
from services.jobs.pipelines.errors import PipelineNotCancellable, PipelineNotFound, PipelineNotRetryable
from services.jobs.pipelines.hooks import PIPELINES
from services.jobs.pipelines.models import Pipeline, PipelineStep
from services.jobs.pipelines.plan import Impossible, Planned, field, plan
from services.jobs.pipelines.templates import TEMPLATES
from services.jobs.runtime import Services
from shared.contracts.base import is_id, new_id
from shared.contracts.jobs import JobState
from shared.contracts.pipelines import PipelineIn, RetryIn, StepIn, StepState
from shared.contracts.problems import FieldError
from shared.kit.database import db_now
from shared.kit.problems import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A pipeline that makes sense, with what the registry knows of what it names."""

    body: PipelineIn
    parameters: dict[str, Any]
    planned: list[Planned]
    wanted: list[submission.Wanted]
    """Of each of ``planned``."""


def propose(services: Services, body: PipelineIn) -> Proposal:
    """Check all that needs no database of ours. Call it before the transaction. InvalidRequest with all that is wrong."""
    try:
        parameters, steps = _expanded(body)
        planned = plan(steps, parameters, all_used=body.template is None)
        readable = specs.read(planned, parameters, body.tags, of_template=body.template is not None)
    except Impossible as exc:
        raise refusal(exc.errors) from exc
    wanted = [submission.look_up(services, each.body, place=each.place, unknown=each.unknown) for each in readable]
    return Proposal(body=body, parameters=parameters, planned=planned, wanted=wanted)


def refusal(errors: Sequence[FieldError]) -> InvalidRequest:
    """All errors as one answer."""
    shown = [error.model_dump(exclude_none=True) for error in errors]
    return InvalidRequest("; ".join(f"{error.field}: {error.message}" for error in errors[:3]), errors=shown)


def _expanded(body: PipelineIn) -> tuple[dict[str, Any], list[StepIn]]:
    if body.template is None:
        return body.parameters, body.steps or []
    if body.template not in TEMPLATES:
        message = f"there is no template {body.template!r}"
        hint = f"one of {', '.join(TEMPLATES)}"
        raise Impossible([FieldError(field=field("template"), message=message, hint=hint)])
    return TEMPLATES[body.template].expand(body.parameters)


def create(session: Session, proposal: Proposal, *, owner: str) -> Pipeline:
    """Store the pipeline; its first steps start after the commit.

    Raises InvalidRequest for datasets and models that are not there, DatasetNotReady, RegistryAway.
    """
    _check(session, proposal)
    body = proposal.body
    pipeline = Pipeline(
        id=new_id(),
        name=body.name or body.template or "pipeline",
        template=body.template,
        owner=owner,
        tags=dict(body.tags),
        parameters=proposal.parameters,
        created_at=db_now(session),
    )
    session.add(pipeline)
    session.flush()
    session.add_all(_row(pipeline.id, position, planned) for position, planned in enumerate(proposal.planned))
    session.flush()
    signals.of(session).loops.add(PIPELINES)
    return pipeline


def _check(session: Session, proposal: Proposal) -> None:
    errors: list[FieldError] = []
    for planned, wanted in zip(proposal.planned, proposal.wanted, strict=True):
        try:
            submission.check(session, wanted)
        except InvalidRequest as exc:
            errors += specs.relocated(exc, planned, of_template=proposal.body.template is not None)
    if errors:
        raise refusal(errors)


def _row(pipeline_id: str, position: int, planned: Planned) -> PipelineStep:
    return PipelineStep(
        pipeline_id=pipeline_id,
        name=planned.name,
        position=position,
        kind=planned.step.kind,
        spec=planned.step.spec,
        after=list(planned.after),
        gates=[gate.model_dump(mode="json") for gate in planned.step.gates],
    )


def get(session: Session, pipeline_id: str) -> Pipeline:
    """Raises PipelineNotFound."""
    return _there(repository.find(session, pipeline_id) if is_id(pipeline_id) else None, pipeline_id)


def _locked(session: Session, pipeline_id: str) -> Pipeline:
    return _there(repository.locked(session, pipeline_id) if is_id(pipeline_id) else None, pipeline_id)


def _there(pipeline: Pipeline | None, pipeline_id: str) -> Pipeline:
    if pipeline is None:
        raise PipelineNotFound(f"There is no pipeline {pipeline_id!r}.")
    return pipeline


def cancel(session: Session, pipeline_id: str) -> Pipeline:
    """Stop all of it: what waits is given up, what runs is asked to stop. Again is no error."""
    loaded = state.load(session, _locked(session, pipeline_id))
    try:
        after = loaded.standing.cancelled()
    except IllegalMove as exc:
        raise PipelineNotCancellable(f"The pipeline {pipeline_id} has already {exc.state}.", state=exc.state) from exc
    loaded.store(session, after)
    advance.settle(session, loaded)
    return loaded.pipeline


def retry(session: Session, pipeline_id: str, body: RetryIn) -> Pipeline:
    """Run what has not succeeded once more, and ``body.from_step`` with all that builds on it; the rest is kept."""
    loaded = state.load(session, _locked(session, pipeline_id))
    if body.from_step is not None and body.from_step not in loaded.steps:
        hint = f"the steps are {', '.join(loaded.steps)}"
        raise InvalidRequest.of_field("body.from_step", f"there is no step {body.from_step!r}", hint)
    try:
        after = loaded.standing.retried(body.from_step)
    except IllegalMove as exc:
        raise PipelineNotRetryable(f"The pipeline {pipeline_id} is {exc.state}.", state=exc.state) from exc
    for name in loaded.standing.again(body.from_step):
        loaded.steps[name].take_up = body.from_checkpoint and _can_be_taken_up(session, loaded, name)
    loaded.store(session, after)
    signals.of(session).loops.add(PIPELINES)
    return loaded.pipeline


def _can_be_taken_up(session: Session, loaded: state.Loaded, name: str) -> bool:
    """A job that did not succeed goes on. One that did is only taken as it is if somebody had retried it by hand."""
    job = loaded.jobs.get(name)
    if job is None or loaded.steps[name].state is StepState.SUCCEEDED:
        return False
    if job.state is not JobState.SUCCEEDED:
        return True
    verdict = loaded.judged(session, name)
    return verdict is None or verdict.outcome is StepState.SUCCEEDED
