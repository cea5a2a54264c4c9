"""The one Celery configuration of senders and workers: a message is one job id, and losing it loses nothing."""

from typing import Final

from celery import Celery

TASK: Final = "picofleet.run_job"


def make_celery(broker_url: str) -> Celery:
    """A Celery app for ``broker_url``. One queue per job kind, named like the kind.

    Messages are acknowledged before the work: claim and lease in the jobs service decide who runs a job, and its sweeper
    sends again what was lost. So there are no results, and redelivery after the visibility timeout is harmless.
    """
    app = Celery("picofleet", broker=broker_url, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        # A busy worker takes no further message, which would wait there while another worker is idle.
        worker_disable_prefetch=True,
        task_create_missing_queues=True,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=2,
        broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2, "retry_on_timeout": False},
        # The sender is answering a request: it gives up at once and leaves the job to the sweeper.
        task_publish_retry=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        task_send_sent_event=False,
        enable_utc=True,
        timezone="UTC",
    )
    return app


def send_job(celery: Celery, *, kind: str, job_id: str) -> None:
    """Tell the workers of ``kind`` that a job is there. Raises kombu's OperationalError when the broker is away."""
    celery.send_task(TASK, args=[job_id], queue=kind, ignore_result=True)
