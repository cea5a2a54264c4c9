"""Files of an MLflow run, and its page beside other runs, over MLflow's REST interface."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx

from shared.client.errors import ClientError, NotReachable
from shared.client.files import save_stream
from shared.client.transport import is_loopback

_DEEPEST: Final = 6


class RunFiles:
    """The artifacts of one run."""

    def __init__(self, mlflow_url: str, run_id: str) -> None:
        self._url, self._run_id = mlflow_url.rstrip("/"), run_id
        self._http = httpx.Client(timeout=30, trust_env=not is_loopback(mlflow_url))

    def __enter__(self) -> "RunFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def list(self, folder: str = "", *, depth: int = _DEEPEST) -> Iterator[str]:
        """Paths of all files below ``folder``."""
        params = {"run_id": self._run_id} | ({"path": folder} if folder else {})
        answer = self._get("/api/2.0/mlflow/artifacts/list", params)
        for entry in answer.json().get("files", []):
            if not entry["is_dir"]:
                yield str(entry["path"])
            elif depth > 0:
                yield from self.list(entry["path"], depth=depth - 1)

    def experiment_id(self) -> str:
        """The experiment that the run belongs to."""
        return str(self._get("/api/2.0/mlflow/runs/get", {"run_id": self._run_id}).json()["run"]["info"]["experiment_id"])

    def save(self, path: str, to: Path) -> Path:
        """Save one file as ``to``."""
        params = {"path": path, "run_uuid": self._run_id}
        try:
            with self._http.stream("GET", f"{self._url}/get-artifact", params=params) as answer:
                if answer.is_error:
                    raise ClientError(f"MLflow answered {answer.status_code} for {path}.")
                return save_stream(answer, to)
        except httpx.TransportError as exc:
            raise NotReachable(f"No answer from MLflow at {self._url}: {exc}") from exc

    def _get(self, path: str, params: dict[str, str]) -> httpx.Response:
        try:
            answer = self._http.get(f"{self._url}{path}", params=params)
        except httpx.TransportError as exc:
            raise NotReachable(f"No answer from MLflow at {self._url}: {exc}") from exc
        if answer.is_error:
            raise ClientError(f"MLflow answered {answer.status_code} for run {self._run_id}.")
        return answer


def comparison_url(mlflow_url: str, run_ids: Sequence[str]) -> str:
    """The page of MLflow that shows these runs beside each other."""
    with RunFiles(mlflow_url, run_ids[0]) as run:
        experiments = [run.experiment_id()]
    shown = {"runs": list(run_ids), "experiments": experiments}
    query = "&".join(f"{name}={quote(json.dumps(ids))}" for name, ids in shown.items())
    return f"{mlflow_url.rstrip('/')}/#/compare-runs?{query}"
