"""A whole platform, started as `picofleet up` does it, and what the fault tests do to it."""

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from numpy.typing import NDArray
from redis import Redis
from safetensors.numpy import load_file

from infra.embedded.control import Supervisor
from infra.embedded.home import Home
from infra.embedded.platform import down, status, up
from shared.client.sdk import PicofleetClient
from shared.contracts.datasets import DatasetIn, DatasetSelection, GeneratorSource
from shared.contracts.jobs import EventType, JobEvent, JobOut, JobState, TrainingSubmission
from shared.contracts.training import Compute, EvaluationSettings, Recipe

LEASE_S = 8.0
"""Short, so that an outage longer than a lease does not take a minute; the product's default is 30 s."""
HUNG_S = 300.0
"""Longer than anything takes on a machine that does much else: what is waited for so long will not come."""


@dataclass(frozen=True)
class Platform:
    home: Home
    client: PicofleetClient
    jobs_url: str
    mlflow_url: str
    lease_s: float = LEASE_S

    def pid(self, program: str) -> int:
        return next(state.pid for state in Supervisor(self.home).processes() if state.name == program)

    def children(self) -> list[psutil.Process]:
        """The processes that do the jobs' work, the idle spare one among them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid("worker")).children(recursive=True)
        return []

    @contextlib.contextmanager
    def without(self, program: str) -> Iterator[None]:
        """The program is killed without a chance to say goodbye, and stays away for the length of the block."""
        supervisor = Supervisor(self.home)
        first = psutil.Process(self.pid(program))
        group = [first, *first.children(recursive=True)]
        for process in group:
            process.suspend()
        supervisor._call("stopProcess", program, False)  # the supervisor knows that the end is wanted; nobody hears its SIGTERM
        for process in group:
            process.kill()
        until(lambda: self.pid(program), lambda pid: pid == 0, what=f"the end of {program}")
        try:
            yield
        finally:
            supervisor._call("startProcess", program, False)

    def kill(self, program: str) -> None:
        """SIGKILL to the program itself, not to its children; the supervisor starts it again."""
        psutil.Process(self.pid(program)).kill()

    def kill_child_of(self, job: JobOut) -> None:
        """SIGKILL to the process that does the job's work: the one that has its folder open or in its environment."""
        busy = until(lambda: [each for each in self.children() if works_on(each, job.id)], bool, what="a child")
        for child in busy:
            child.kill()

    def until_well(self) -> None:
        """Wait until every program answers again."""
        until(lambda: status(self.home), lambda now: now.is_up, what="the platform")

    @property
    def redis_url(self) -> str:
        plan = json.loads(self.home.plan.read_text())
        return str(plan["programs"]["worker"]["env"]["PICOFLEET_WORKER_REDIS_URL"])

    def empty_redis(self) -> None:
        with Redis.from_url(self.redis_url) as redis:
            redis.flushall()

    def weights(self, job: JobOut, folder: Path) -> dict[str, NDArray[Any]]:
        """The registered model's tensors."""
        output = next(each for each in job.outputs if each.kind == "model_version")
        path = self.client.models.download(str(output.registered_model), int(output.version or 0), "model.safetensors", folder)
        return load_file(path)

    def metric_steps(self, run_id: str, metric: str) -> list[int]:
        """The steps at which MLflow holds a value, sorted."""
        params: dict[str, str | int] = {"run_id": run_id, "metric_key": metric, "max_results": 25_000}
        found = httpx.get(f"{self.mlflow_url}/api/2.0/mlflow/metrics/get-history", params=params, timeout=30).json()
        return sorted({int(row["step"]) for row in found["metrics"]})

    def submit(self, dataset: str, **changes: Any) -> JobOut:
        return self.client.jobs.submit_training(a_training(dataset, **changes))

    def until(self, job: JobOut, holds: Callable[[JobOut], bool], *, what: str, limit_s: float = HUNG_S) -> JobOut:
        look, log = (lambda: self.client.jobs.get(job.id)), (lambda: self.client.jobs.logs(job.id))
        found: JobOut = until(look, holds, what=what, limit_s=limit_s, log=log)
        return found

    def until_training(self, job: JobOut, *, step: int = 1) -> JobOut:
        return self.until(job, lambda now: _step(now) >= step, what=f"training step {step}")

    def finished(self, job: JobOut) -> JobOut:
        return self.until(job, lambda now: now.state.is_final, what="the job's end")

    def registered(self, job: JobOut) -> JobOut:
        """The job at its end, with its model's version: the registry may answer a moment later."""
        ended = self.finished(job)
        assert ended.state is JobState.SUCCEEDED, ended.error
        return self.until(ended, lambda now: all(output.version for output in now.outputs), what="the registry")

    def states(self, job: JobOut) -> list[str]:
        return [event.payload["state"] for event in self.events(job) if event.type is EventType.STATE]

    def events(self, job: JobOut) -> list[JobEvent]:
        return list(self.client.jobs.events(job.id))


def works_on(process: psutil.Process, job_id: str) -> bool:
    try:
        return any(job_id in file.path for file in process.open_files()) or job_id in process.cwd()
    except psutil.NoSuchProcess:
        return False


def _step(job: JobOut) -> int:
    if job.state is not JobState.RUNNING or job.progress is None or job.progress.phase != "train":
        return -1
    return job.progress.done


def until(
    look: Callable[[], Any],
    holds: Callable[[Any], bool],
    *,
    what: str,
    limit_s: float = HUNG_S,
    log: Callable[[], str] = str,
) -> Any:
    deadline = time.monotonic() + limit_s
    while not holds(found := look()):
        assert time.monotonic() < deadline, f"waited {limit_s} s for {what}; found {found}\n{log()[-3000:]}"
        time.sleep(0.1)
    return found


def a_training(
    dataset: str, *, steps: int = 40, name: str | None = None, initial_model: str | None = None, **recipe: Any
) -> TrainingSubmission:
    """A training of `steps` small steps that evaluates at its end."""
    chosen = {"samples": 8 * steps, "batch_size": 8, "checkpoint_every": 10, "evaluate_every": 100_000} | recipe
    return TrainingSubmission(
        name=name,
        initial_model=initial_model,
        train=[DatasetSelection(dataset=dataset, split="train")],
        validation=DatasetSelection(dataset=dataset, split="val"),
        recipe=Recipe(**chosen),
        compute=Compute(device="cpu", threads=1),
        evaluation=EvaluationSettings(pictures=2, mask_ap=False),
        register_as="e2e",
    )


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for all tests of the session: they leave it whole."""
    home = Home.at(tmp_path_factory.mktemp("home"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PICOFLEET_JOBS_LEASE_S", str(LEASE_S))
        patch.setenv("PICOFLEET_JOBS_SWEEP_S", "1")
        started = up(home)
        key = home.admin_key.read_text().strip()
        try:
            with PicofleetClient(started.jobs_url, key) as client:
                yield Platform(home, client, started.jobs_url, started.mlflow_url)
        finally:
            down(home)


@pytest.fixture(scope="session")
def dataset(platform: Platform) -> str:
    """Generated images, imported."""
    body = DatasetIn(name="shapes", source=GeneratorSource(images=40, width=160, height=128, max_objects=4))
    made = platform.client.datasets.register(body)
    until(
        lambda: platform.client.datasets.get(made.id),
        lambda now: now.state.value == "ready",
        what="the import",
        log=lambda: platform.client.jobs.logs(str(made.import_job)),
    )
    return made.name
