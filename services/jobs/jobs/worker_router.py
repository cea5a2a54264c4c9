"""The worker protocol's routes on jobs: `shared.contracts.worker` has the messages."""

from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, status

from services.jobs.jobs import protocol
from services.jobs.jobs.errors import JobNotFound, NotClaimable, StaleToken
from services.jobs.packages import publishing
from services.jobs.packages.errors import SigningUnavailable
from services.jobs.runtime import ServicesDep
from shared.contracts.keys import Scope
from shared.contracts.worker import CheckpointIn, Claim, ClaimIn, FinishIn, HeartbeatIn, HeartbeatOut, ReportIn
from shared.kit.auth import requires
from shared.kit.database import SessionDep
from shared.kit.problems import InvalidRequest, problem_responses

router = APIRouter(prefix="/v1/worker/jobs/{job_id}", tags=["worker protocol"], dependencies=[requires(Scope.WORKER)])
_STALE = problem_responses(JobNotFound, StaleToken)


def _lease(services: ServicesDep) -> timedelta:
    return timedelta(seconds=services.settings.lease_s)


LeaseDep = Annotated[timedelta, Depends(_lease)]


@router.post("/claim", response_model=Claim, responses=problem_responses(JobNotFound, NotClaimable))
def claim(job_id: str, body: ClaimIn, services: ServicesDep, lease: LeaseDep) -> Claim:
    """Take a queued job. Exactly one caller gets it."""
    # A transaction of its own: a refusal may have failed the job, which has to be committed before it is raised.
    with services.sessions.begin() as session:
        answer = protocol.claim(session, job_id, worker=body.worker, lease=lease)
    if isinstance(answer, NotClaimable):
        raise answer
    return answer


@router.post("/heartbeat", response_model=HeartbeatOut, responses=_STALE)
def heartbeat(job_id: str, body: HeartbeatIn, session: SessionDep, lease: LeaseDep) -> HeartbeatOut:
    """Extend the lease, and learn whether to stop."""
    return protocol.heartbeat(session, job_id, token=body.token, lease=lease)


@router.post("/progress", response_model=HeartbeatOut, responses=_STALE)
def report(job_id: str, body: ReportIn, session: SessionDep, lease: LeaseDep) -> HeartbeatOut:
    """Progress and log lines; extends the lease too."""
    return protocol.report(session, job_id, body, lease=lease)


@router.put("/checkpoint", response_model=HeartbeatOut, responses=_STALE)
def keep_checkpoint(
    job_id: str, body: CheckpointIn, session: SessionDep, lease: LeaseDep, services: ServicesDep, after: BackgroundTasks
) -> HeartbeatOut:
    """Say from which blobs the job can be taken up again; extends the lease too."""
    answer, freed = protocol.keep_checkpoint(session, job_id, body, lease=lease)
    after.add_task(services.blobs.delete_all, freed)
    return answer


@router.post(
    "/finish",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problem_responses(JobNotFound, StaleToken, InvalidRequest, SigningUnavailable),
)
def finish(job_id: str, body: FinishIn, session: SessionDep, services: ServicesDep, after: BackgroundTasks) -> None:
    """The last word on a claim. Repeating it is harmless. A package that comes with it is numbered and signed."""
    with ExitStack() as stack:
        publish = None
        if body.package is not None:
            made = stack.enter_context(publishing.unpacked(services.blobs, body.package))
            publish = partial(publishing.publish, blobs=services.blobs, signer=services.signer, made=made)
        after.add_task(services.blobs.delete_all, protocol.finish(session, job_id, body, publish))
