"""MLflow by its REST interface, for services and workers.

Not `MlflowClient`: importing it takes 2.2 s and 175 MB where the full package is installed (0.75 s and 79 MB with
mlflow-skinny alone) against 0.18 s and 30 MB for httpx, which is there anyway; and it retries on its own for minutes, where a
service has to answer within seconds. The routes are MLflow's public, versioned REST API 2.0.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, BinaryIO, Final, Self
from urllib.parse import quote, urlsplit

import httpx

EXPERIMENT: Final = "picofleet"
"""Where all runs of the platform are: the runs of sweeps beside those of their trials."""

_API: Final = "/api/2.0/mlflow"
_ARTIFACTS: Final = "/api/2.0/mlflow-artifacts/artifacts"
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK_BYTES: Final = 256 * 1024


class MlflowError(Exception):
    """Any failure to do something in MLflow."""


class MlflowAway(MlflowError):
    """No usable answer (no connection, time-out, 5xx): the call may or may not have taken effect; try again later."""

    def __init__(self, message: str, *, internal: bool = False) -> None:
        super().__init__(message)
        self.internal = internal
        """MLflow is there but failed inside (500): its disk is full, or it cannot digest just this call."""


class MlflowRefused(MlflowError):
    """MLflow understood the call and said no: trying again unchanged is no use."""

    def __init__(self, message: str, *, code: str, status: int) -> None:
        super().__init__(message)
        self.code, self.status = code, status


class MlflowMissing(MlflowRefused):
    """What the call names does not exist."""


class MlflowExists(MlflowRefused):
    """What the call would create exists."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One point of one curve. ``at_ms``: milliseconds since 1970, UTC."""

    key: str
    value: float
    step: int
    at_ms: int

    def as_json(self) -> dict[str, Any]:
        """The message's form; JSON has no words for NaN and infinity, protobuf's JSON writes them as text."""
        return {"key": self.key, "value": _number(self.value), "step": self.step, "timestamp": self.at_ms}


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """One entry of an artifact folder; ``path`` is relative to the folder that was listed."""

    path: str
    is_folder: bool
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Download:
    """An opened artifact: read ``chunks`` before the context ends. ``first_byte`` is 0 unless MLflow served a range."""

    chunks: Iterator[bytes]
    first_byte: int
    content_type: str


class MlflowApi:
    """One connection pool to one MLflow server. Safe to share between threads; close it at the end."""

    def __init__(self, url: str, *, timeout_s: float = 10, headers: Mapping[str, str] | None = None) -> None:
        connect_s = min(timeout_s, 3.0)  # a server that is away must be known as such within seconds
        timeout = httpx.Timeout(timeout_s, connect=connect_s, pool=connect_s)
        # trust_env=False: MLflow is a neighbour; a proxy for the outside world must not get between.
        self._http = httpx.Client(base_url=url.rstrip("/"), timeout=timeout, headers=headers, trust_env=False)
        self.url = url.rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # Health and experiments

    def healthy(self) -> bool:
        """True if the server answers."""
        try:
            return self._http.get("/health", timeout=3).status_code == 200
        except httpx.HTTPError:
            return False

    def experiment_id(self, name: str) -> str:
        """The experiment's id; made if it is not there, restored if somebody deleted it."""
        try:
            found = self._get("experiments/get-by-name", {"experiment_name": name})["experiment"]
        except MlflowMissing:
            return self._new_experiment(name)
        if found["lifecycle_stage"] == "deleted":
            self._post("experiments/restore", {"experiment_id": found["experiment_id"]})
        return str(found["experiment_id"])

    def _new_experiment(self, name: str) -> str:
        try:
            return str(self._post("experiments/create", {"name": name})["experiment_id"])
        except MlflowExists:  # two jobs started together
            return self.experiment_id(name)

    # Runs

    def create_run(self, experiment_id: str, *, name: str | None, tags: Mapping[str, str], started_ms: int) -> dict[str, Any]:
        """Create a run and give its ``{info, data}``."""
        body = {"experiment_id": experiment_id, "run_name": name or "", "start_time": started_ms, "tags": _pairs(tags)}
        return dict(self._post("runs/create", body)["run"])

    def find_runs(self, experiment_id: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
        """Active runs that carry all of ``tags``, oldest first."""
        where = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        body = {
            "experiment_ids": [experiment_id],
            "filter": where,
            "max_results": 10,
            "order_by": ["attributes.start_time ASC"],
        }
        return list(self._post("runs/search", body).get("runs", []))

    def get_run(self, run_id: str) -> dict[str, Any]:
        """A run's ``{info, data}``; `MlflowMissing` if there is none."""
        return dict(self._get("runs/get", {"run_id": run_id})["run"])

    def update_run(self, run_id: str, *, status: str, ended_ms: int | None = None) -> None:
        """Set RUNNING, FINISHED, FAILED or KILLED."""
        body: dict[str, Any] = {"run_id": run_id, "status": status}
        self._post("runs/update", body if ended_ms is None else body | {"end_time": ended_ms})

    def log_batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[Metric] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log at most 1000 things, of them at most 100 params and 100 tags. Repeating a call adds nothing."""
        body = {"run_id": run_id, "metrics": [m.as_json() for m in metrics], "params": _pairs(params), "tags": _pairs(tags)}
        self._post("runs/log-batch", body)

    def log_dataset(self, run_id: str, dataset: Mapping[str, str], *, context: str) -> None:
        """Name a dataset (name, digest of up to 36 characters, source_type, source) as the run's input."""
        entry = {"dataset": dict(dataset), "tags": _pairs({"mlflow.data.context": context})}
        self._post("runs/log-inputs", {"run_id": run_id, "datasets": [entry]})

    def metric_history(self, run_id: str, key: str) -> list[dict[str, Any]]:
        """All points of one metric."""
        points: list[dict[str, Any]] = []
        query = {"run_id": run_id, "metric_key": key, "max_results": "25000"}
        for page in self._pages("metrics/get-history", query):
            points += page.get("metrics", [])
        return points

    # Artifacts, through the server's proxy

    def upload(self, artifact_uri: str, path: str, content: BinaryIO | bytes, *, size_bytes: int) -> None:
        """Store a file below ``artifact_uri``; an older one of that path is replaced."""
        url = f"{_ARTIFACTS}/{_proxied(artifact_uri, path)}"
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}
        self._call("PUT", url, content=content, headers=headers, timeout=httpx.Timeout(120, connect=3))

    def artifacts(self, artifact_uri: str) -> list[ArtifactFile]:
        """The entries of one folder, without those of its subfolders; empty if there is no such folder."""
        answer = self._call("GET", _ARTIFACTS, params={"path": _proxied(artifact_uri, "", quoted=False)}).json()
        return [
            ArtifactFile(entry["path"], bool(entry.get("is_dir")), int(entry["file_size"]) if "file_size" in entry else None)
            for entry in answer.get("files", [])
        ]

    def all_artifacts(self, artifact_uri: str) -> list[ArtifactFile]:
        """Every file below a folder, paths relative to it, sorted."""
        found: list[ArtifactFile] = []
        for entry in self.artifacts(artifact_uri):
            if not entry.is_folder:
                found.append(entry)
                continue
            below = self.all_artifacts(f"{artifact_uri.rstrip('/')}/{entry.path}")
            found += [ArtifactFile(f"{entry.path}/{file.path}", False, file.size_bytes) for file in below]
        return sorted(found, key=lambda file: file.path)

    @contextmanager
    def download(self, artifact_uri: str, path: str, *, first_byte: int = 0) -> Iterator[Download]:
        """Open a file; nothing of it is kept in memory beyond one chunk. `MlflowMissing` if there is none."""
        url = f"{_ARTIFACTS}/{_proxied(artifact_uri, path)}"
        headers = {"Range": f"bytes={first_byte}-"} if first_byte else {}
        try:
            # MLflow may first fetch the file from its own store, so the first byte gets more time than an answer.
            patience = httpx.Timeout(60, connect=3)
            headers |= {"Accept-Encoding": "identity"}
            with self._http.stream("GET", url, headers=headers, timeout=patience) as answer:
                if answer.is_error:
                    answer.read()
                _raise_for(answer)
                served = first_byte if answer.status_code == 206 else 0
                yield Download(answer.iter_bytes(_CHUNK_BYTES), served, answer.headers.get("Content-Type", ""))
        except httpx.HTTPError as exc:
            raise MlflowAway(f"MLflow at {self.url} broke off: {exc!r}") from exc

    # The model registry

    def ensure_model(self, name: str, *, description: str = "") -> None:
        """Make the registered model if it is not there."""
        try:
            self._post("registered-models/create", {"name": name, "description": description})
        except MlflowExists:
            return

    def get_model(self, name: str) -> dict[str, Any]:
        """A registered model with its aliases."""
        return dict(self._get("registered-models/get", {"name": name})["registered_model"])

    def search_models(self, *, page_size: int, page_token: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """One page of registered models by name, and the token of the next."""
        query = {"max_results": str(page_size), "order_by": "name ASC"} | ({"page_token": page_token} if page_token else {})
        answer = self._get("registered-models/search", query)
        return list(answer.get("registered_models", [])), answer.get("next_page_token") or None

    def create_version(
        self, name: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> dict[str, Any]:
        """Create the next version, its tags in the same transaction of MLflow."""
        body = {"name": name, "source": source, "run_id": run_id, "tags": _pairs(tags), "description": description}
        return dict(self._post("model-versions/create", body)["model_version"])

    def get_version(self, name: str, version: int) -> dict[str, Any]:
        """One version, aliases included."""
        return dict(self._get("model-versions/get", {"name": name, "version": str(version)})["model_version"])

    def search_versions(
        self, where: str, *, page_size: int = 100, page_token: str | None = None
    ) -> tuple[list[dict[str, Any]], str | None]:
        """One page of versions, newest first, and the token of the next. ``where`` is MLflow's filter."""
        query = {"filter": where, "max_results": str(page_size), "order_by": "version_number DESC"}
        answer = self._get("model-versions/search", query | ({"page_token": page_token} if page_token else {}))
        return list(answer.get("model_versions", [])), answer.get("next_page_token") or None

    def version_uri(self, name: str, version: int) -> str:
        """Where the version's files are, for versions whose source is written in MLflow's indirect ways."""
        return str(self._get("model-versions/get-download-uri", {"name": name, "version": str(version)})["artifact_uri"])

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version; its run and files stay."""
        self._call("DELETE", f"{_API}/model-versions/delete", json={"name": name, "version": str(version)})

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, wherever it pointed before."""
        self._post("registered-models/alias", {"name": name, "alias": alias, "version": str(version)})

    def delete_alias(self, name: str, alias: str) -> None:
        """Take an alias away; no error if there was none."""
        self._call("DELETE", f"{_API}/registered-models/alias", json={"name": name, "alias": alias})

    # Calls

    def _pages(self, route: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        token = ""
        while True:
            answer = self._get(route, {**query, **({"page_token": token} if token else {})})
            yield answer
            token = answer.get("next_page_token", "")
            if not token:
                return

    def _get(self, route: str, query: Mapping[str, str]) -> dict[str, Any]:
        return dict(self._call("GET", f"{_API}/{route}", params=query).json())

    def _post(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._call("POST", f"{_API}/{route}", json=body).json())

    def _call(self, method: str, url: str, **request: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, url, **request)
        except httpx.TransportError as exc:
            raise MlflowAway(f"MLflow at {self.url} cannot be reached: {exc!r}") from exc
        _raise_for(answer)
        return answer


def _raise_for(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    code, message = _error_of(answer)
    if answer.status_code in _TRANSIENT:
        raise MlflowAway(f"MLflow answered {answer.status_code}: {message}", internal=answer.status_code == 500)
    if code == "RESOURCE_DOES_NOT_EXIST" or answer.status_code == 404:
        raise MlflowMissing(message, code=code, status=answer.status_code)
    if code == "RESOURCE_ALREADY_EXISTS":
        raise MlflowExists(message, code=code, status=answer.status_code)
    raise MlflowRefused(message, code=code, status=answer.status_code)


def _error_of(answer: httpx.Response) -> tuple[str, str]:
    try:
        body = answer.json()
        return str(body["error_code"]), str(body["message"])
    except (ValueError, KeyError, TypeError):
        return "", answer.text[:500]


def _pairs(values: Mapping[str, str] | None) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in (values or {}).items()]


def _number(value: float) -> float | str:
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _proxied(artifact_uri: str, path: str, *, quoted: bool = True) -> str:
    uri = urlsplit(artifact_uri)
    if uri.scheme != "mlflow-artifacts":
        hint = "start `mlflow server` with --serve-artifacts and --artifacts-destination"
        raise MlflowRefused(f"MLflow does not proxy the artifacts at {artifact_uri}: {hint}", code="NOT_PROXIED", status=400)
    if ".." in path.split("/"):
        raise MlflowRefused(f"{path!r} leaves the artifact folder", code="INVALID_PATH", status=400)
    whole = "/".join(part.strip("/") for part in (uri.path, path) if part.strip("/"))
    return quote(whole) if quoted else whole
