"""What workers ask for: claim, heartbeat, report, checkpoint, finish. Every message after the claim carries its token."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from services.jobs.jobs import effects, moves, repository, service, sources
from services.jobs.jobs.domain import HELD, IllegalMove, Outcome
from services.jobs.jobs.errors import JobChanged, NotClaimable, StaleToken
from services.jobs.jobs.models import Job
from services.jobs.jobs.repository import NewEvent
from services.jobs.models import service as models
from services.jobs.packages.publishing import Published
from shared.contracts.base import Digest, is_id
from shared.contracts.jobs import EventType, JobError, JobKind, JobOutput, JobSpec, JobState
from shared.contracts.worker import (
    Checkpoint,
    CheckpointIn,
    Claim,
    FinishIn,
    HeartbeatOut,
    ImportedDataset,
    LogLine,
    ReportIn,
)
from shared.kit.database import db_now
from shared.kit.problems import InvalidRequest

_SPEC: TypeAdapter[JobSpec] = TypeAdapter(JobSpec)
Publish: TypeAlias = Callable[[Session, Job], Published]
"""Signs the package that came with the message, in the transaction that ends its job."""


def claim(session: Session, job_id: str, *, worker: str, lease: timedelta) -> Claim | NotClaimable:
    """Give a queued job to the caller: to exactly one, however often the message is delivered.

    The refusal is returned, not raised, because a job whose dataset or model is gone fails here and that has to be committed.
    """
    job = service.get(session, job_id)
    try:
        claimed = job.standing.claimed()
    except IllegalMove as exc:
        return NotClaimable(f"The job {job_id} is {exc.state}.", state=exc.state)
    found = sources.grants(session, job)
    if isinstance(found, JobError):
        service.fail(session, job_id, found)
        return NotClaimable(f"The job {job_id} cannot run: {found.message}", state=JobState.FAILED)
    if isinstance(found, str):
        return NotClaimable(f"The job {job_id} waits for {found}.", state=JobState.QUEUED)
    try:
        job = moves.apply(session, job, [claimed], worker=worker, lease_until=db_now(session) + lease)
    except JobChanged:
        return NotClaimable(f"The job {job_id} went to another worker.", state=JobState.RUNNING)
    return _claim_of(job, found, lease)


def _claim_of(job: Job, granted: sources.Granted, lease: timedelta) -> Claim:
    return Claim(
        job_id=job.id,
        kind=job.kind,
        name=job.name,
        spec=_SPEC.validate_python(job.spec),
        owner=job.owner,
        tags=job.tags,
        attempt=job.attempt,
        token=job.attempt,
        lease_s=lease.total_seconds(),
        checkpoint=Checkpoint.model_validate(job.checkpoint) if job.checkpoint else None,
        mlflow_run_id=job.mlflow_run_id,
        datasets=granted.datasets,
        models=granted.models,
        parent_run_id=job.parent_run_id,
    )


def heartbeat(session: Session, job_id: str, *, token: int, lease: timedelta) -> HeartbeatOut:
    """Extend the lease. StaleToken if the claim is over."""
    return _answer(_held(session, job_id, token, lease), lease)


def report(session: Session, job_id: str, body: ReportIn, *, lease: timedelta) -> HeartbeatOut:
    """Store progress and log lines, once per report number; extends the lease too."""
    job = _held(session, job_id, body.token, lease)
    if body.report_no <= job.last_report_no:
        return _answer(job, lease)
    job.last_report_no = body.report_no
    job.mlflow_run_id = body.mlflow_run_id or job.mlflow_run_id
    events = [_log_event(line) for line in body.logs]
    if body.progress is not None:
        job.progress = body.progress.model_dump(mode="json")
        events.append(NewEvent(EventType.PROGRESS, job.progress))
    session.flush()
    if events:
        moves.note(session, job_id, events)
    return _answer(job, lease)


def keep_checkpoint(
    session: Session, job_id: str, body: CheckpointIn, *, lease: timedelta
) -> tuple[HeartbeatOut, list[Digest]]:
    """Remember where the job can be taken up again; extends the lease too. The newest checkpoint of the claim is kept.

    Also returns the blobs that no checkpoint names any more, to be deleted after the commit: they add up to gigabytes an hour.
    """
    job = _held(session, job_id, body.token, lease)
    older, newer = job.checkpoint, Checkpoint(step=body.step, files=body.files).model_dump(mode="json")
    if older is not None and older["step"] > body.step:
        older, newer = newer, older
    job.checkpoint = newer
    session.flush()
    return _answer(job, lease), repository.unnamed(session, older)


def finish(session: Session, job_id: str, body: FinishIn, publish: Publish | None = None) -> list[Digest]:
    """The holder's last word. Repeated by the same claim it is acknowledged and changes nothing; else StaleToken.

    Returns the blobs that nothing names any more, to be deleted after the commit: a job that succeeded needs no checkpoint, and
    a package is kept as it was signed. Raises InvalidRequest for an import that succeeded without saying what it found, or a
    packaging without a package; what ``publish`` raises.
    """
    job = service.locked(session, job_id)
    if job.attempt != body.token or not (job.state in HELD or job.state.is_final):
        raise _stale(job, body.token)
    if job.state.is_final:
        return []
    steps = job.standing.finished(_outcome(body), body.error)
    published = None
    if steps[-1].state is JobState.SUCCEEDED:
        published = _published(session, job, publish)
        body = _with_package(body, published)
        _succeed(session, job, body)
    elif body.error is not None and steps[-1].state is not JobState.FAILED:
        moves.note(session, job_id, [_log_event(_last_words(job, body.error))])
    ended = moves.apply(session, service.locked(session, job_id), steps, **_gained(body, steps[-1].state))
    if ended.state is not JobState.SUCCEEDED:
        return []
    needless, ended.checkpoint = ended.checkpoint, None
    session.flush()
    return [*repository.unnamed(session, needless), *([published.unsigned] if published else [])]


def _published(session: Session, job: Job, publish: Publish | None) -> Published | None:
    if job.kind is not JobKind.PACKAGING:
        return None
    if publish is not None:
        return publish(session, job)
    if not job.spec["dry_run"]:
        raise InvalidRequest.of_field("body.package", "a packaging that succeeded has to bring a package")
    return None


def _with_package(body: FinishIn, published: Published | None) -> FinishIn:
    """What the worker said, and what only the service knows: release number, digest and key of the signed package."""
    if published is None:
        return body
    registered = [each.model_copy(update={"tags": each.tags | published.tags}) for each in body.register_models]
    gained = {"result": body.result | published.result, "outputs": [*body.outputs, published.output]}
    return body.model_copy(update={**gained, "register_models": registered})


def _succeed(session: Session, job: Job, body: FinishIn) -> None:
    if job.kind is JobKind.DATASET_IMPORT:
        effects.import_succeeded(session, job, _found(body))
    if body.register_models:
        models.register_outputs(session, job, body.register_models)
    if body.outputs:
        moves.note(session, job.id, [NewEvent(EventType.OUTPUT, each.model_dump(mode="json")) for each in body.outputs])


def _found(body: FinishIn) -> ImportedDataset:
    if body.dataset is None:
        raise InvalidRequest.of_field("body.dataset", "an import that succeeded has to say what it found")
    return body.dataset


def _gained(body: FinishIn, state: JobState) -> dict[str, Any]:
    """What a finished job keeps: a failed one its figures, a successful one its outputs too."""
    if not state.is_final:
        return {}
    if state is not JobState.SUCCEEDED:
        return {"result": body.result}
    promised = [_promised(each.output, each.registered_model) for each in body.register_models]
    return {"result": body.result, "outputs": [each.model_dump(mode="json") for each in (*body.outputs, *promised)]}


def _promised(output: str, registered_model: str) -> JobOutput:
    return JobOutput(name=output, kind="model_version", registered_model=registered_model)


def _outcome(body: FinishIn) -> Outcome:
    if body.crashed:
        return Outcome.CRASHED
    if body.cancelled:
        return Outcome.CANCELLED
    return Outcome.SUCCEEDED if body.error is None else Outcome.FAILED


def _last_words(job: Job, error: JobError) -> LogLine:
    return LogLine(level="error", message=f"attempt {job.attempt} on {job.worker} ended: {error.message}"[:8192])


def _log_event(line: LogLine) -> NewEvent:
    return NewEvent(EventType.LOG, line.model_dump(mode="json"))


def _held(session: Session, job_id: str, token: int, lease: timedelta) -> Job:
    """The job with its lease extended and its row locked."""
    job = repository.renew(session, job_id, token, db_now(session), lease) if is_id(job_id) else None
    if job is None:
        raise _stale(service.get(session, job_id), token)
    return job


def _stale(job: Job, token: int) -> StaleToken:
    return StaleToken(f"Token {token} of the job {job.id} is over: it is {job.state}, attempt {job.attempt}.", state=job.state)


def _answer(job: Job, lease: timedelta) -> HeartbeatOut:
    return HeartbeatOut(stop_requested=job.state is JobState.CANCELLING, lease_s=lease.total_seconds())
