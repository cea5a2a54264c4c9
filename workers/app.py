"""The worker: ``celery -A workers.app worker -P threads``. The only place where Celery and the supervisor meet."""

from typing import Any

from celery import signals
from kombu import Queue

from shared.kit.celery_app import TASK, make_celery
from workers.harness.settings import WorkerSettings
from workers.harness.supervisor import Supervisor

settings = WorkerSettings()
app = make_celery(settings.redis_url)
app.conf.update(
    task_queues=[Queue(kind.value) for kind in settings.queues],
    worker_concurrency=settings.slots,
)
supervisor = Supervisor(settings)


@app.task(name=TASK)
def run_job(job_id: str) -> None:
    """Claim the job and run it. Any number of messages about one job does no harm."""
    supervisor.run_job(job_id)


@signals.worker_ready.connect
def _start(**_: Any) -> None:
    supervisor.start()


@signals.worker_shutting_down.connect
def _shut_down(**_: Any) -> None:
    supervisor.shut_down()


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    supervisor.close()
