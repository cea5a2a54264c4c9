"""Factories of jobs and datasets on the running app's database."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from services.jobs.datasets.models import Dataset
from services.jobs.jobs.models import Job
from services.jobs.runtime import Services
from shared.contracts.base import digest_of
from shared.contracts.datasets import DatasetState
from shared.contracts.jobs import JobKind

Json = dict[str, Any]


def a_dataset(session: Session, name: str = "shapes", **overrides: Any) -> Dataset:
    """A ready dataset with the splits train and val."""
    ready = {
        "name": name,
        "state": DatasetState.READY,
        "source": {"kind": "generator"},
        "owner": "ada",
        "digest": digest_of(name.encode()),
        "manifest": digest_of(b"manifest of " + name.encode()),
        "splits": {"train": {"images": 80, "instances": 200}, "val": {"images": 20, "instances": 50}},
    }
    dataset = Dataset(**(ready | overrides))
    session.add(dataset)
    session.flush()
    return dataset


def a_submission(dataset: str = "shapes", **overrides: Any) -> Json:
    """The body of a training job."""
    train, validation = {"dataset": dataset, "split": "train"}, {"dataset": dataset, "split": "val"}
    return {"train": [train], "validation": validation} | overrides


class Fleet:
    """Speaks to the running app as a user and as a worker."""

    def __init__(self, http: httpx.Client, user: dict[str, str], worker: dict[str, str]) -> None:
        self.http, self.user, self.worker = http, user, worker

    def submit(self, **overrides: Any) -> Json:
        answer = self.http.post("/v1/jobs/training", json=a_submission(**overrides), headers=self.user)
        assert answer.status_code == 201, answer.text
        return answer.json()

    def get(self, job_id: str) -> Json:
        answer = self.http.get(f"/v1/jobs/{job_id}", headers=self.user)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def act(self, job_id: str, verb: str, **params: Any) -> httpx.Response:
        return self.http.post(f"/v1/jobs/{job_id}/{verb}", headers=self.user, params=params)

    def tell(self, job_id: str, what: str, **message: Any) -> httpx.Response:
        method = "PUT" if what == "checkpoint" else "POST"
        return self.http.request(method, f"/v1/worker/jobs/{job_id}/{what}", json=message, headers=self.worker)

    def claim(self, job_id: str, worker: str = "box:1") -> Json:
        answer = self.tell(job_id, "claim", worker=worker)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def hello(self, worker: str = "box:1", **overrides: Any) -> None:
        body = {"worker": worker, "queues": ["training"], "slots": 1} | overrides
        assert self.http.post("/v1/worker/hello", json=body, headers=self.worker).status_code == 204

    def log(self, job_id: str) -> str:
        return self.http.get(f"/v1/jobs/{job_id}/logs", headers=self.user).text


@pytest.fixture
def fleet(client: httpx.Client, operator: dict[str, str], worker: dict[str, str]) -> Fleet:
    return Fleet(client, operator, worker)


@pytest.fixture
def new_dataset(services: Services) -> Callable[..., Dataset]:
    """Makes datasets, committed: ``new_dataset("coco", state=DatasetState.IMPORTING)``."""

    def make(name: str = "shapes", **overrides: Any) -> Dataset:
        with services.sessions.begin() as session:
            return a_dataset(session, name, **overrides)

    return make


@pytest.fixture
def dataset(new_dataset: Callable[..., Dataset]) -> Dataset:
    return new_dataset()


@pytest.fixture
def job(fleet: Fleet, dataset: Dataset) -> Json:
    """A queued training job."""
    return fleet.submit()


@pytest.fixture
def row(services: Services) -> Callable[[str], Job]:
    """A job's row as it is now."""

    def read(job_id: str) -> Job:
        with services.sessions() as session:
            return session.get_one(Job, job_id)

    return read


@pytest.fixture
def sent(services: Services) -> Callable[[], list[str]]:
    """Takes the job ids out of all queues of the broker, after carrying there what waits."""

    def take() -> list[str]:
        services.messenger.flush()
        return [_job_id(raw) for queue in JobKind for raw in _drain(services, queue)]

    return take


def _drain(services: Services, queue: str) -> Iterator[bytes]:
    while (raw := services.redis.rpop(queue)) is not None:
        yield raw


def _job_id(raw: bytes) -> str:
    [[job_id], *_] = json.loads(base64.b64decode(json.loads(raw)["body"]))
    return str(job_id)


@pytest.fixture
def race() -> Callable[[Sequence[Callable[[], Any]]], list[Any]]:
    """Runs functions at the same moment, one thread each, and gives their results in order."""

    def run(functions: Sequence[Callable[[], Any]]) -> list[Any]:
        start = threading.Barrier(len(functions))

        def one(function: Callable[[], Any]) -> Any:
            start.wait(10)
            return function()

        with ThreadPoolExecutor(len(functions)) as pool:
            return list(pool.map(one, functions))

    return run
