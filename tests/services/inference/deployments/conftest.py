"""Deployments on the running app, with a real registry behind a real jobs service."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.inference.deployments import converge
from services.inference.engine.served import Served
from services.inference.runtime import Services
from shared.kit.mlflow_api import MlflowApi
from tests.services.inference.registered import Registry

Json = dict[str, Any]


@pytest.fixture
def mlflow_url(mlflow_server: str) -> str:
    return mlflow_server


@pytest.fixture
def registry(mlflow_server: str, networks: Callable[..., Path]) -> Iterator[Registry]:
    """The registry, with a model of the test's own."""
    with MlflowApi(mlflow_server) as mlflow:
        yield Registry(mlflow, networks)


@dataclass(frozen=True)
class Deployments:
    """What users do with deployments, and the loop that follows."""

    http: httpx.Client
    headers: dict[str, str]
    services: Services

    def put(self, name: str, *models: str | Json, headers: dict[str, str] | None = None, **spec: Any) -> httpx.Response:
        """``models``: references with equal shares, or whole parts."""
        share = 100 // max(1, len(models))
        parts = [model if isinstance(model, dict) else {"model": model, "percent": share} for model in models]
        return self.http.put(f"/v1/deployments/{name}", json={"versions": parts} | spec, headers=self.headers | (headers or {}))

    def serve(self, name: str, *models: str | Json, **spec: Any) -> Served:
        """Put it and converge; gives what is served."""
        self.put(name, *models, **spec).raise_for_status()
        self.converge()
        return self.services.table.get(name)

    def converge(self) -> None:
        converge.tick(self.services)

    def read(self, name: str) -> Json:
        found: Json = self.http.get(f"/v1/deployments/{name}", headers=self.headers).raise_for_status().json()
        return found

    def rollback(self, name: str, generation: int | None = None, *, key: str | None = None) -> httpx.Response:
        headers = self.headers | ({"Idempotency-Key": key} if key else {})
        return self.http.post(f"/v1/deployments/{name}/rollback", json={"generation": generation}, headers=headers)


@pytest.fixture
def deployments(client: httpx.Client, operator: dict[str, str], services: Services) -> Deployments:
    return Deployments(client, operator, services)
