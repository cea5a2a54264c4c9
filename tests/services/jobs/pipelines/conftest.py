"""Pipelines on the running app: made over HTTP, their jobs worked off as workers do it."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from services.jobs.jobs.models import Job
from services.jobs.models import registration
from services.jobs.pipelines import advance
from services.jobs.runtime import Services
from tests.services.jobs.jobs.conftest import Fleet, dataset, fleet, new_dataset, race

__all__ = ["dataset", "fleet", "new_dataset", "race"]

Json = dict[str, Any]

FITTING = {"train": [{"dataset": "shapes", "split": "train"}], "validation": {"dataset": "shapes", "split": "val"}}


def a_step(name: str = "train", kind: str = "training", **more: Any) -> Json:
    """A step that trains; ``spec`` is added to what any training needs."""
    spec = more.pop("spec", {})
    return {"name": name, "kind": kind, "spec": (FITTING if kind != "evaluation" else {}) | spec} | more


def train_distil_evaluate() -> list[Json]:
    """Three steps, each built on the one before by references."""
    teacher = {"kind": "model", "model": "${steps.train.model}"}
    models = [{"model": "${steps.distil.model}"}, {"model": "${steps.train.model}"}]
    return [
        a_step("train"),
        a_step("distil", "distillation", spec={"teacher": teacher}),
        a_step("evaluate", "evaluation", spec={"models": models, "dataset": FITTING["validation"]}),
    ]


class Pipelines:
    """Speaks to the running app as a user, and works its jobs off as a worker."""

    def __init__(self, services: Services, fleet: Fleet) -> None:
        self.services, self.fleet = services, fleet

    def post(self, **body: Any) -> httpx.Response:
        return self.fleet.http.post("/v1/pipelines", json=body, headers=self.fleet.user)

    def submit(self, *steps: Json, **more: Any) -> str:
        """A running pipeline whose first jobs are queued; gives its id."""
        answer = self.post(steps=list(steps), **more)
        assert answer.status_code == 201, answer.text
        self.tick()
        return str(answer.json()["id"])

    def tick(self) -> None:
        advance.tick(self.services)

    def get(self, pipeline_id: str) -> Json:
        answer = self.fleet.http.get(f"/v1/pipelines/{pipeline_id}", headers=self.fleet.user)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def step(self, pipeline_id: str, name: str) -> Json:
        return next(step for step in self.get(pipeline_id)["steps"] if step["name"] == name)

    def states(self, pipeline_id: str) -> Json:
        shown = self.get(pipeline_id)
        return {"": shown["state"]} | {step["name"]: step["state"] for step in shown["steps"]}

    def act(self, pipeline_id: str, verb: str, **body: Any) -> httpx.Response:
        return self.fleet.http.post(f"/v1/pipelines/{pipeline_id}/{verb}", json=body or None, headers=self.fleet.user)

    def finish(self, job_id: str, *, model: str | None = None, tick: bool = True, **message: Any) -> Json:
        """Work a job off; ``model``: the name under which what it made is registered. Gives the claim."""
        claim = self.fleet.claim(job_id)
        if model is not None:
            made = {"output": "model", "registered_model": model, "run_id": self._run()}
            message |= {"register_models": [made]}
        answer = self.fleet.tell(job_id, "finish", token=claim["token"], **message)
        assert answer.status_code == 204, answer.text
        if tick:
            registration.tick(self.services)
            self.tick()
        return claim

    def _run(self) -> str:
        mlflow = self.services.mlflow
        run = mlflow.create_run(mlflow.experiment_id("models"), name=None, tags={}, started_ms=1)["info"]
        mlflow.upload(run["artifact_uri"], "model/model.safetensors", b"weights", size_bytes=7)
        return str(run["run_id"])

    def done(self, pipeline_id: str, name: str, **message: Any) -> str:
        """Work the step's job off; gives the job's id."""
        job_id = self.step(pipeline_id, name)["job_id"]
        self.finish(job_id, **message)
        return str(job_id)

    def jobs(self) -> list[Job]:
        with self.services.sessions() as session:
            return list(session.scalars(select(Job).order_by(Job.id)))


@pytest.fixture
def pipelines(services: Services, fleet: Fleet) -> Pipelines:
    return Pipelines(services, fleet)


@pytest.fixture
def refused(pipelines: Pipelines) -> Callable[..., dict[str, str]]:
    """Errors of a pipeline that is refused: message by field."""

    def errors(*steps: Json, **more: Any) -> dict[str, str]:
        answer = pipelines.post(**({"steps": list(steps)} if steps else {}), **more)
        assert answer.status_code == 422, answer.text
        assert pipelines.jobs() == []
        return {error["field"]: error["message"] for error in answer.json()["errors"]}

    return errors
