"""The real jobs service in a process of its own, and supervisors with real children."""

import contextlib
import functools
import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.contracts.base import digest_of
from shared.contracts.jobs import JobKind, JobOut
from shared.contracts.serving import NETWORK_DIGEST_TAG, NETWORK_FILE, SERVING_FILE, ServingCard
from shared.contracts.worker import FinishIn
from workers.harness.kinds import MODULES
from workers.harness.settings import WorkerSettings
from workers.harness.supervisor import Supervisor

TRIALS = {JobKind.MODEL_IMPORT: "tests.workers.harness.trial_jobs"}
_numbers = itertools.count()


def wait_until(is_so: Callable[[], Any], *, what: str, timeout_s: float = 20) -> Any:
    give_up = time.monotonic() + timeout_s
    while not (found := is_so()):
        assert time.monotonic() < give_up, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
    return found


class JobsService:
    """`python -m services.jobs` on SQLite; can be killed and started again on the same port and files."""

    def __init__(self, folder: Path, port: int, redis_url: str, **settings: str) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self._environment = {
            "DATABASE_URL": f"sqlite:///{folder}/jobs.db",
            "REDIS_URL": redis_url,
            "BLOB_URL": str(folder / "blobs"),
            "DATASET_ROOTS": str(folder / "data"),
            "ADMIN_KEY_FILE": str(folder / "admin.key"),
            "WORKER_KEY_FILE": str(folder / "worker.key"),
            "PACKAGE_KEY": str(folder / "packages.pem"),
            "PORT": str(port),
            **settings,
        }
        (folder / "data").mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {f"PICOFLEET_JOBS_{name}": value for name, value in self._environment.items()}
        with (self.folder / "jobs.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.jobs"], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        wait_until(self._is_up, what=f"the jobs service, see {self.folder}/jobs.log", timeout_s=60)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def close(self) -> None:
        self.kill()
        self.client.close()

    @functools.cached_property
    def client(self) -> httpx.Client:
        key = (self.folder / "admin.key").read_text().strip()
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def trial(self, name: str) -> str:
        """Queue the trial job of that name; its id."""
        blob = self.client.post("/v1/blobs", content=b"trial").raise_for_status().json()["digest"]
        body = {"name": name, "blob": blob, "format": "safetensors"}
        answer = self.client.post("/v1/models/import", json=body, headers={"Idempotency-Key": f"{name}-{next(_numbers)}"})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def dataset(self, name: str, **source: Any) -> dict[str, Any]:
        """Register a dataset, generated unless told otherwise."""
        rule = {"split_rule": source.pop("split_rule")} if "split_rule" in source else {}
        body = {"name": f"{name}.{next(_numbers)}", "source": source or {"kind": "generator", "images": 1}, **rule}
        answer = self.client.post("/v1/datasets", json=body)
        assert answer.status_code < 300, answer.text
        return dict(answer.json())

    def imported(self, supervisor: Supervisor, name: str = "shapes", **source: Any) -> dict[str, Any]:
        """Register a dataset and import it at once; what the service says of it then."""
        dataset = self.dataset(name, **source)
        supervisor.run_job(dataset["import_job"])
        return dict(self.client.get(f"/v1/datasets/{dataset['id']}").raise_for_status().json())

    def training(self, dataset: str, **changes: Any) -> str:
        """Queue a training that takes seconds; its id."""
        return self._fitting("training", dataset, **changes)

    def distillation(self, dataset: str, teacher: dict[str, Any], **changes: Any) -> str:
        """Queue a distillation whose student takes seconds; its id."""
        return self._fitting("distillation", dataset, teacher=teacher, **changes)

    def _fitting(self, kind: str, dataset: str, **changes: Any) -> str:
        body: dict[str, Any] = {
            "train": [{"dataset": dataset, "split": "train"}],
            "validation": {"dataset": dataset, "split": "val"},
            "recipe": {"samples": 64, "batch_size": 8, "evaluate_every": 4, "checkpoint_every": 2} | changes.pop("recipe", {}),
            "evaluation": {"interim_prompts": 8, "pictures": 4},
            "register_as": None,
        }
        answer = self.client.post(f"/v1/jobs/{kind}", json=body | changes)
        assert answer.status_code < 300, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> JobOut:
        return JobOut.model_validate(self.client.get(f"/v1/jobs/{job_id}").raise_for_status().json())

    def logs(self, job_id: str) -> str:
        return self.client.get(f"/v1/jobs/{job_id}/logs", headers={"Accept": "text/plain"}).raise_for_status().text

    def events(self, job_id: str) -> str:
        """All events of a job that has ended, as they are streamed."""
        return self.client.get(f"/v1/jobs/{job_id}/events").raise_for_status().text

    def has_checkpoint(self, job_id: str) -> bool:
        """True once a checkpoint was uploaded; no route tells, since only a claim needs it."""
        with contextlib.closing(sqlite3.connect(self.folder / "jobs.db")) as connection:
            (checkpoint,) = connection.execute("SELECT checkpoint FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return checkpoint not in (None, "null")

    def version(self, name: str) -> dict[str, Any] | None:
        """Version 1 of a model, once the service knows whose it is: MLflow has it a moment before."""
        answer = self.client.get(f"/v1/models/{name}/versions/1")
        return dict(answer.json()) if answer.is_success and answer.json()["job_id"] else None

    def registered(self, name: str) -> dict[str, Any]:
        """The same, after waiting for it."""
        return dict(wait_until(lambda: self.version(name), what=f"{name}/1 in the registry"))

    def card(self, version: dict[str, Any]) -> ServingCard:
        """The serving.json of a registered version, whose tag names the network that is beside it."""
        files = f"/v1/models/{version['name']}/versions/{version['version']}/artifacts"
        network, card = (self.client.get(f"{files}/{name}").raise_for_status().content for name in (NETWORK_FILE, SERVING_FILE))
        found = ServingCard.model_validate_json(card)
        assert found.network_digest == version["tags"][NETWORK_DIGEST_TAG] == digest_of(network)
        return found

    def cancel(self, job_id: str) -> None:
        self.client.post(f"/v1/jobs/{job_id}/cancel").raise_for_status()

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "jobs.log").read_text()[-3000:]
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2).is_success
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="session")
def services_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Redis for the services below alone: they send their queued jobs again whenever they find it emptied."""
    from tests.conftest import RedisProcess

    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


@pytest.fixture(scope="session")
def jobs_service(tmp_path_factory: pytest.TempPathFactory, services_redis: str) -> Iterator[JobsService]:
    """One for all tests that leave it alive."""
    from tests.conftest import free_port

    service = JobsService(tmp_path_factory.mktemp("jobs"), free_port(), services_redis)
    service.start()
    yield service
    service.close()


@pytest.fixture(scope="session")
def tracking_service(
    tmp_path_factory: pytest.TempPathFactory, services_redis: str, mlflow_server: str
) -> Iterator[JobsService]:
    """One that has MLflow beside it."""
    from tests.conftest import free_port

    service = JobsService(tmp_path_factory.mktemp("jobs"), free_port(), services_redis, MLFLOW_URL=mlflow_server)
    service.start()
    yield service
    service.close()


@pytest.fixture(scope="module")
def worker(tracking_service: JobsService, mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """One of every kind for all tests of a file, since its cache and the models that it trains are."""
    key_file = tracking_service.folder / "worker.key"
    settings = {"jobs_url": tracking_service.url, "api_key_file": key_file, "mlflow_url": mlflow_server}
    settings |= {"cache_dir": tmp_path_factory.mktemp("cache"), "spare_child": False, "queues": list(MODULES)}
    supervisor = Supervisor(WorkerSettings(**settings), MODULES)
    yield supervisor
    supervisor.close()


@pytest.fixture
def mortal_service(tmp_path: Path, services_redis: str) -> Iterator[JobsService]:
    """One that the test may kill. Its lease is short."""
    from tests.conftest import free_port

    (tmp_path / "service").mkdir()
    service = JobsService(tmp_path / "service", free_port(), services_redis, LEASE_S="6", SWEEP_S="1")
    service.start()
    yield service
    service.close()


class Running:
    """A job that a supervisor runs in a thread."""

    def __init__(self, supervisor: Supervisor, job_id: str) -> None:
        self.job_id = job_id
        self.finish: FinishIn | None = None
        self._supervisor = supervisor
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float = 60) -> FinishIn | None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the supervisor is still busy with the job"
        return self.finish

    def _run(self) -> None:
        self.finish = self._supervisor.run_job(self.job_id)


@pytest.fixture
def worker_for(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors for a service: ``worker_for(service, grace_s=1)``; trial jobs unless told otherwise."""
    made: list[Supervisor] = []

    def make(service: JobsService, modules: dict[JobKind, str] | None = None, **changes: Any) -> Supervisor:
        settings = {"cache_dir": tmp_path / "cache", "spare_child": False, "queues": list(modules or TRIALS)}
        key_file = service.folder / "worker.key"
        values = settings | {"jobs_url": service.url, "api_key_file": key_file, "mlflow_url": "http://127.0.0.1:9"} | changes
        made.append(Supervisor(WorkerSettings(**values), modules or TRIALS))
        return made[-1]

    yield make
    for supervisor in made:
        supervisor.close()


@pytest.fixture
def run_trial(
    jobs_service: JobsService, worker_for: Callable[..., Supervisor]
) -> Callable[..., tuple[JobOut, FinishIn | None]]:
    """Runs the named trial job to its end: what the service says of it, and what the supervisor told the service."""

    def run(name: str, **settings: Any) -> tuple[JobOut, FinishIn | None]:
        job_id = jobs_service.trial(name)
        finish = worker_for(jobs_service, **settings).run_job(job_id)
        return jobs_service.job(job_id), finish

    return run
