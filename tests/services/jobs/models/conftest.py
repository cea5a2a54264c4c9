"""Models against a real MLflow: runs with a model's files, finished jobs, registered versions."""

import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.jobs.jobs.models import Job
from services.jobs.jobs.service import enqueue
from services.jobs.models import registration
from services.jobs.models.models import ModelVersion
from services.jobs.models.service import register_outputs
from services.jobs.runtime import Services
from services.jobs.settings import JobsSettings
from shared.contracts.imports import ModelImportSpec, WeightsFormat
from shared.contracts.worker import ModelGrant, RegisterModel
from shared.kit.mlflow_api import MlflowApi

FILES = {"model.safetensors": b"s" * 1000, "model.onnx": bytes(range(256)) * 3000, "sub/example.json": b"{}"}


@pytest.fixture
def settings(settings: JobsSettings, mlflow_server: str) -> JobsSettings:
    return settings.model_copy(update={"mlflow_url": mlflow_server})


@pytest.fixture
def mlflow(services: Services) -> MlflowApi:
    return services.mlflow


@pytest.fixture
def name() -> str:
    """A model name of the test's own: the MLflow server is shared."""
    return f"m-{uuid.uuid4().hex[:12]}"


@dataclass(frozen=True)
class Factory:
    """Makes what the tests begin with."""

    services: Services
    name: str

    def run(self, files: dict[str, bytes] = FILES) -> str:
        """A run with a model's files; gives its id."""
        mlflow = self.services.mlflow
        run = mlflow.create_run(mlflow.experiment_id("models"), name=None, tags={}, started_ms=1)["info"]
        for path, content in files.items():
            mlflow.upload(run["artifact_uri"], f"model/{path}", content, size_bytes=len(content))
        return str(run["run_id"])

    def job(self, *, initial: ModelGrant | None = None, **tags: str) -> str:
        """A queued job; gives its id."""
        with self.services.sessions.begin() as session:
            return self.job_in(session, initial=initial, **tags)

    def job_in(self, session: Session, *, initial: ModelGrant | None = None, **tags: str) -> str:
        """The same, in a transaction of the caller's."""
        spec = ModelImportSpec(blob="sha256:" + "0" * 64, format=WeightsFormat.ONNX)
        return enqueue(session, spec=spec, owner="ada", tags=tags, models={"initial_model": initial} if initial else {}).id

    def finish(self, job_id: str, *outputs: str, run_id: str | None = None, **values: Any) -> None:
        """What `finish` does for models: promise a version per output."""
        common = {"registered_model": self.name, "run_id": run_id or self.run(), **values}
        wanted = [RegisterModel(output=output, **common) for output in outputs or ("model",)]
        with self.services.sessions.begin() as session:
            register_outputs(session, session.get_one(Job, job_id), wanted)

    def version(self, *, initial: ModelGrant | None = None) -> int:
        """A registered version."""
        job_id = self.job(initial=initial)
        self.finish(job_id)
        registration.tick(self.services)
        (row,) = self.rows(job_id)
        assert row.version is not None
        return row.version

    def rows(self, job_id: str) -> list[ModelVersion]:
        query = select(ModelVersion).where(ModelVersion.job_id == job_id).order_by(ModelVersion.output)
        with self.services.sessions() as session:
            return list(session.scalars(query))

    def grant(self, version: int) -> ModelGrant:
        return ModelGrant(name=self.name, version=version, artifact_uri="mlflow-artifacts:/x")

    def versions_in_mlflow(self) -> list[int]:
        found, _ = self.services.mlflow.search_versions(f"name = '{self.name}'")
        return sorted(int(version["version"]) for version in found)


@pytest.fixture
def make(services: Services, name: str) -> Factory:
    return Factory(services, name)


@pytest.fixture
def saved_files() -> dict[str, bytes]:
    return FILES
