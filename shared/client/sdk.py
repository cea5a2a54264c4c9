"""The SDK's front door."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from shared.client.config import Connection, default_connection
from shared.client.resources.admin import Keys, Workers
from shared.client.resources.blobs import Blobs
from shared.client.resources.datasets import Datasets
from shared.client.resources.deployments import Deployments
from shared.client.resources.fleet import Fleet
from shared.client.resources.jobs import Jobs
from shared.client.resources.models import Models
from shared.client.resources.packages import Packages
from shared.client.resources.pipelines import Pipelines, Sweeps
from shared.client.resources.segmentation import segment
from shared.client.resources.teachers import Teachers
from shared.client.transport import RETRIES, Transport
from shared.contracts.segmentation import DEFAULT_DEPLOYMENT, Everything, Output, Prompt, SegmentOut, View


class PicofleetClient:
    """Speaks to the jobs service: the given one, else PICOFLEET_URL with PICOFLEET_API_KEY, else the embedded platform.

    ``deployments`` and ``segment`` speak to the inference service: ``inference_url``, else PICOFLEET_INFERENCE_URL or the
    embedded platform's if no ``url`` was given, else ``url``, as behind a gateway. ``fleet`` speaks to the fleet service:
    ``fleet_url``, else PICOFLEET_FLEET_URL, and so on.

    >>> with PicofleetClient("http://127.0.0.1:8001", api_key) as client:  # doctest: +SKIP
    ...     job = client.jobs.submit_training(submission)
    ...     for event in client.jobs.events(job.id):
    ...         print(event.seq, event.type, event.payload)

    Every method raises ProblemError for a refusal and NotReachable if nobody answers.
    """

    def __init__(
        self,
        url: str | Connection | None = None,
        api_key: str | None = None,
        *,
        inference_url: str | None = None,
        fleet_url: str | None = None,
        timeout_s: float = 30.0,
        retries: int = RETRIES,
    ) -> None:
        found = _connection(url, api_key, inference_url, fleet_url)
        self._connection, self._timeout_s, self._retries = found, timeout_s, retries
        self.transport = Transport(found.url, found.api_key, timeout_s=timeout_s, retries=retries)
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

    @cached_property
    def inference(self) -> Transport:
        """The connection to the inference service; made at its first use."""
        found = self._connection
        return Transport(found.inference_url, found.inference_key, timeout_s=self._timeout_s, retries=self._retries)

    @cached_property
    def deployments(self) -> Deployments:
        """Which model versions are in use."""
        return Deployments(self.inference)

    @cached_property
    def fleet(self) -> Fleet:
        """Cameras, groups, and the rollouts that bring packages to them."""
        found = self._connection
        return Fleet(Transport(found.fleet_url, found.fleet_key, timeout_s=self._timeout_s, retries=self._retries))

    def segment(
        self,
        image: Path | bytes,
        prompts: Sequence[Prompt] = (),
        *,
        deployment: str = DEFAULT_DEPLOYMENT,
        everything: Everything | None = None,
        output: Output = Output.PNG,
        view: View = View.IMAGE,
        deadline_ms: int | None = None,
    ) -> SegmentOut:
        """Masks of what ``prompts`` point at in a JPEG, PNG or WebP file, or of ``everything`` in it.

        >>> client.segment(Path("photo.jpg"), [Prompt(point=(320, 240))]).objects[0].confidence  # doctest: +SKIP

        Unusable if the file cannot be read.
        """
        asked = {"deployment": deployment, "everything": everything, "output": output, "view": view, "deadline_ms": deadline_ms}
        return segment(self.inference, image, prompts, **asked)

    def close(self) -> None:
        """Close all connections."""
        self.transport.close()
        if "inference" in self.__dict__:
            self.inference.close()
        if "fleet" in self.__dict__:
            self.fleet.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _connection(
    url: str | Connection | None, api_key: str | None, inference_url: str | None, fleet_url: str | None
) -> Connection:
    if isinstance(url, Connection):
        return url
    if url is None:
        return default_connection(api_key, inference_url, fleet_url)
    return Connection.to(url, api_key, inference_url, fleet_url)
