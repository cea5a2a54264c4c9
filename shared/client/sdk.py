"""The SDK's front door."""

from types import TracebackType
from typing import Self

from shared.client.config import default_connection
from shared.client.resources.admin import Keys, Workers
from shared.client.resources.blobs import Blobs
from shared.client.resources.datasets import Datasets
from shared.client.resources.jobs import Jobs
from shared.client.resources.models import Models
from shared.client.resources.packages import Packages
from shared.client.resources.pipelines import Pipelines, Sweeps
from shared.client.resources.teachers import Teachers
from shared.client.transport import RETRIES, Transport


class PicofleetClient:
    """Speaks to the jobs service: the given one, else PICOFLEET_URL with PICOFLEET_API_KEY, else the embedded platform.

    >>> with PicofleetClient("http://127.0.0.1:8001", api_key) as fleet:  # doctest: +SKIP
    ...     job = fleet.jobs.submit_training(submission)
    ...     for event in fleet.jobs.events(job.id):
    ...         print(event.seq, event.type, event.payload)

    Every method raises ProblemError for a refusal and NotReachable if nobody answers.
    """

    def __init__(
        self, url: str | None = None, api_key: str | None = None, *, timeout_s: float = 30.0, retries: int = RETRIES
    ) -> None:
        if url is None:
            found = default_connection()
            url, api_key = found.url, api_key or found.api_key
        self.transport = Transport(url, api_key, timeout_s=timeout_s, retries=retries)
        self.datasets = Datasets(self.transport)
        self.jobs = Jobs(self.transport)
        self.models = Models(self.transport)
        self.packages = Packages(self.transport)
        self.pipelines = Pipelines(self.transport)
        self.sweeps = Sweeps(self.transport)
        self.teachers = Teachers(self.transport)
        self.blobs = Blobs(self.transport)
        self.keys = Keys(self.transport)
        self.workers = Workers(self.transport)

    @property
    def url(self) -> str:
        """Where the service is."""
        return self.transport.url

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
