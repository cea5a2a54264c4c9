"""Versions in a real MLflow, as jobs register them."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.contracts.base import digest_of_file
from shared.contracts.serving import NETWORK_DIGEST_TAG
from shared.contracts.windows import WindowPolicy
from shared.kit.mlflow_api import MlflowApi


@dataclass(frozen=True)
class Registry:
    """One registered model of the test's own, and what is done to its versions."""

    mlflow: MlflowApi
    networks: Callable[..., Path]
    name: str = field(default_factory=lambda: f"m-{uuid.uuid4().hex[:12]}")

    def register(
        self,
        seed: int = 0,
        *,
        window: WindowPolicy | None = None,
        tags: Mapping[str, str] | None = None,
        without: str = "",
    ) -> str:
        """A version of which the network is ``networks(seed, window)``; gives name/version."""
        folder = self.networks(seed, window)
        digest = {NETWORK_DIGEST_TAG: digest_of_file(folder / "model.onnx")}
        files = {file.name: file.read_bytes() for file in folder.iterdir() if file.name != without}
        return self.register_files(files, tags=digest if tags is None else tags)

    def register_files(self, files: Mapping[str, bytes], *, tags: Mapping[str, str]) -> str:
        """A version with these files; gives name/version."""
        run = self.mlflow.create_run(self.mlflow.experiment_id("served"), name=None, tags={}, started_ms=1)["info"]
        for name, content in files.items():
            self.mlflow.upload(run["artifact_uri"], f"model/{name}", content, size_bytes=len(content))
        self.mlflow.ensure_model(self.name)
        source = f"{run['artifact_uri']}/model"
        self.mlflow.create_version(self.name, source=source, run_id=run["run_id"], tags=dict(tags), description="")
        found, _ = self.mlflow.search_versions(f"name = '{self.name}'")
        return f"{self.name}/{max(int(version['version']) for version in found)}"

    def promote(self, model: str, alias: str = "champion") -> str:
        """Let the alias name this version; gives name@alias."""
        self.mlflow.set_alias(self.name, alias, int(model.rpartition("/")[2]))
        return f"{self.name}@{alias}"
