"""Workers say hello and are listed."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from services.jobs.jobs import service
from services.jobs.workers.models import Worker
from services.jobs.workers.service import forget_old
from shared.contracts.imports import ModelImportSpec
from shared.contracts.worker import WorkerOut
from shared.kit.database import db_now

HELLO = {
    "worker": "box:1",
    "queues": ["training", "model_import"],
    "slots": 2,
    "device": "cpu",
    "versions": {"torch": "2.13.0"},
}


@pytest.fixture
def hello(client, worker):
    def say(**overrides):
        answer = client.post("/v1/worker/hello", json=HELLO | overrides, headers=worker)
        assert answer.status_code == 204, answer.text

    return say


@pytest.fixture
def listed(client, viewer):
    def read() -> list[WorkerOut]:
        answer = client.get("/v1/workers", headers=viewer).json()
        return [WorkerOut.model_validate(item) for item in answer["items"]]

    return read


def test_a_worker_is_listed_as_it_described_itself(hello, listed):
    hello()
    [worker] = listed()
    assert (worker.worker, worker.queues, worker.slots, worker.versions) == ("box:1", HELLO["queues"], 2, {"torch": "2.13.0"})
    assert worker.alive
    assert worker.jobs == []


def test_a_second_hello_updates_the_first(hello, listed):
    hello(), hello(busy=1, slots=3)
    [worker] = listed()
    assert (worker.slots, worker.busy) == (3, 1)
    assert worker.last_seen_at >= worker.first_seen_at


def test_a_worker_is_listed_with_the_jobs_that_it_holds(services, client, hello, listed, worker):
    hello()
    with services.sessions.begin() as session:
        spec = ModelImportSpec(blob=f"sha256:{'a' * 64}", format="onnx")
        job_id = service.enqueue(session, spec=spec, owner="ada").id
    client.post(f"/v1/worker/jobs/{job_id}/claim", json={"worker": "box:1"}, headers=worker)
    assert listed()[0].jobs == [job_id]


def test_silent_workers_are_shown_as_gone_and_forgotten_after_days(services, hello, listed):
    hello()

    def silent_for(**time) -> None:
        with services.sessions.begin() as session:
            session.execute(update(Worker).values(last_seen_at=db_now(session) - timedelta(**time)))
        forget_old(services)

    silent_for(seconds=31)
    assert [worker.alive for worker in listed()] == [False]
    silent_for(days=8)
    assert listed() == []


def test_unknown_fields_of_a_newer_worker_are_ignored(client, worker):
    assert client.post("/v1/worker/hello", json=HELLO | {"mood": "good"}, headers=worker).status_code == 204
