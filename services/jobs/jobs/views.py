"""Jobs as users see them, with the reason why a queued one waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from services.jobs.jobs import repository
from services.jobs.jobs.models import Job
from services.jobs.jobs.sources import waiting_for_import
from services.jobs.runtime import Services
from services.jobs.workers import service as workers
from shared.contracts.datasets import DatasetState
from shared.contracts.jobs import JobOut, JobState
from shared.contracts.worker import WorkerOut


def one(session: Session, services: Services, job: Job) -> JobOut:
    """A single job."""
    return many(session, services, [job])[0]


def many(session: Session, services: Services, jobs: Sequence[Job]) -> list[JobOut]:
    """Jobs in the order given."""
    queued = [job for job in jobs if job.state is JobState.QUEUED]
    reasons = _reasons(session, services, queued) if queued else {}
    return [_shown(job, services, reasons.get(job.id)) for job in jobs]


def _shown(job: Job, services: Services, waiting_for: str | None) -> JobOut:
    known = {"mlflow_url": services.run_url(job.mlflow_run_id), "waiting_for": waiting_for}
    return JobOut.model_validate(job).model_copy(update=known)


def _reasons(session: Session, services: Services, queued: Sequence[Job]) -> dict[str, str]:
    importing = _imports_awaited(session, queued)
    around = Surroundings(workers.alive(session, services), broker_away=services.messenger.broker_away)
    return {job.id: importing.get(job.id) or around.reason(job) for job in queued}


def _imports_awaited(session: Session, queued: Sequence[Job]) -> dict[str, str]:
    reads = repository.reads_of(session, [job.id for job in queued])
    ids = {read.dataset_id for read in reads}
    unready = select(Dataset).where(Dataset.id.in_(ids), Dataset.state == DatasetState.IMPORTING)
    datasets: Mapping[str, Dataset] = {dataset.id: dataset for dataset in session.scalars(unready)}
    return {read.job_id: waiting_for_import(datasets[read.dataset_id]) for read in reads if read.dataset_id in datasets}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a queued job finds around it: the workers that are alive, and the broker."""

    workers: Sequence[WorkerOut]
    broker_away: bool = False

    def reason(self, job: Job) -> str:
        """Why nobody has claimed ``job``, for a person, with what would help."""
        serving = [worker for worker in self.workers if job.kind in worker.queues]
        if not serving:
            return f"a worker: none that is alive serves the queue {job.kind.value!r}; start one, see `GET /v1/workers`"
        if all(len(worker.jobs) >= worker.slots for worker in serving):
            return f"a free worker: {_busy(serving)}"
        if self.broker_away:
            return "the message broker: Redis cannot be reached; the job is sent again as soon as it is back"
        return f"one of {len(serving)} workers to pick it up"


def _busy(serving: Sequence[WorkerOut]) -> str:
    shown = [f"{worker.worker} runs {', '.join(worker.jobs)}" for worker in serving[:3]]
    more = len(serving) - len(shown)
    return "; ".join(shown) + (f"; and {more} more are busy" if more else "")
