"""Sweeps on the running app, with a real MLflow."""

from typing import Any

import httpx
import pytest

from services.jobs.settings import JobsSettings
from services.jobs.sweeps import advance
from tests.services.jobs.jobs.conftest import dataset, fleet, new_dataset, race
from tests.services.jobs.pipelines.conftest import FITTING, Pipelines

__all__ = ["dataset", "fleet", "new_dataset", "race"]

Json = dict[str, Any]


def a_sweep(**overrides: Any) -> Json:
    """A grid over two fields, four trials."""
    grid = {"kind": "grid", "fields": {"recipe.learning_rate": [0.001, 0.002], "recipe.seed": [1, 2]}}
    return {"name": "rates", "base": {"kind": "training", "spec": FITTING}, "search": grid} | overrides


class Sweeps(Pipelines):
    """Speaks to the running app as a user, and works trials off as a worker."""

    def post(self, **overrides: Any) -> httpx.Response:
        return self.fleet.http.post("/v1/sweeps", json=a_sweep(**overrides), headers=self.fleet.user)

    def begin(self, **overrides: Any) -> str:
        """A running sweep whose first trials are queued; gives its id."""
        answer = self.post(**overrides)
        assert answer.status_code == 201, answer.text
        self.tick()
        return str(answer.json()["id"])

    def tick(self) -> None:
        advance.tick(self.services)

    def get(self, sweep_id: str) -> Json:
        answer = self.fleet.http.get(f"/v1/sweeps/{sweep_id}", headers=self.fleet.user)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def cancel(self, sweep_id: str) -> httpx.Response:
        return self.fleet.http.post(f"/v1/sweeps/{sweep_id}/cancel", headers=self.fleet.user)

    def running(self, sweep_id: str) -> list[Json]:
        return [trial for trial in self.get(sweep_id)["trials"] if trial["state"] == "running"]

    def work(self, sweep_id: str, *figures: float | None) -> None:
        """Work off one trial per figure, each time the oldest that runs; None: it fails."""
        for figure in figures:
            job_id = self.running(sweep_id)[0]["job_id"]
            error = {"type": "diverged", "message": "loss is nan", "hint": "lower the learning rate"}
            self.finish(job_id, **({"error": error} if figure is None else {"result": {"miou_96": figure}}))


@pytest.fixture
def settings(settings: JobsSettings, mlflow_server: str) -> JobsSettings:
    return settings.model_copy(update={"mlflow_url": mlflow_server})


@pytest.fixture
def sweeps(services: Any, fleet: Any, dataset: Any) -> Sweeps:
    return Sweeps(services, fleet)
