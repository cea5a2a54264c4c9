"""Datasets over REST."""

import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

from shared.client.errors import JobFailed, ProblemError
from shared.client.resources.pages import every
from shared.client.transport import Transport, parsed
from shared.contracts.datasets import DatasetIn, DatasetOut, DatasetReport, DatasetState


class Datasets:
    """`/v1/datasets`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def register(self, dataset: DatasetIn) -> DatasetOut:
        """Register a dataset; its import runs as a job (``import_job``)."""
        return parsed(DatasetOut, self._transport.call("POST", "/v1/datasets", body=dataset))

    def list(self, *, limit: int | None = None) -> Iterator[DatasetOut]:
        """All datasets, newest first."""
        return every(self._transport, "/v1/datasets", DatasetOut, limit=limit)

    def get(self, name_or_id: str) -> DatasetOut:
        """One dataset by name or id; ProblemError 404 if there is none."""
        return parsed(DatasetOut, self._transport.call("GET", f"/v1/datasets/{quote(name_or_id, safe='')}"))

    def find(self, name_or_id: str) -> DatasetOut | None:
        """Like ``get``, but None if there is none."""
        try:
            return self.get(name_or_id)
        except ProblemError as exc:
            if exc.status == 404:
                return None
            raise

    def report(self, name_or_id: str) -> DatasetReport:
        """What validation found in a dataset that has been imported."""
        return parsed(DatasetReport, self._transport.call("GET", f"/v1/datasets/{quote(name_or_id, safe='')}/report"))

    def delete(self, name_or_id: str) -> None:
        """Remove a dataset; ProblemError 409 while something needs it."""
        self._transport.call("DELETE", f"/v1/datasets/{quote(name_or_id, safe='')}")

    def wait_ready(
        self,
        name_or_id: str,
        *,
        poll_s: float = 0.5,
        on_poll: Callable[[DatasetOut], None] | None = None,
    ) -> DatasetOut:
        """Wait for the end of the import; JobFailed if it failed."""
        while True:
            dataset = self.get(name_or_id)
            if on_poll is not None:
                on_poll(dataset)
            if dataset.state is DatasetState.READY:
                return dataset
            if dataset.state is DatasetState.FAILED:
                raise JobFailed(
                    f"Dataset {dataset.name} could not be imported: {dataset.error or 'no reason given'}",
                    hint=f"Look at `picofleet jobs logs {dataset.import_job}`; then remove it with "
                    f"`picofleet datasets rm {dataset.name}` and register it anew.",
                )
            time.sleep(poll_s)
