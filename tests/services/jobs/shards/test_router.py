"""Prepared shards over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.contracts.base import digest_of, new_id

KEY = "b" * 64
PATH = f"/v1/worker/shards/{KEY}"


@pytest.fixture
def dataset_id(client, operator):
    body = {"name": "shapes", "source": {"kind": "generator"}}
    return client.post("/v1/datasets", json=body, headers=operator).json()["id"]


@pytest.fixture
def offered(dataset_id, services):
    """Makes the body of an offer whose file is in the store."""

    def offered(content=b"windows", **overrides):
        files = {"images-0.npy": services.blobs.put_bytes(content).digest}
        return {"key": KEY, "dataset_id": dataset_id, "files": files, "windows": 3, "size_bytes": len(content)} | overrides

    return offered


def test_what_one_worker_prepared_another_finds(client, worker, offered):
    assert client.get(PATH, headers=worker).json()["type"] == "/problems/shards-not-found"
    body = offered()
    assert client.put(PATH, json=body, headers=worker).json() == body
    assert client.get(PATH, headers=worker).json() == body


def test_the_first_writer_wins(client, worker, offered):
    first = client.put(PATH, json=offered(b"one"), headers=worker).json()
    assert client.put(PATH, json=offered(b"two"), headers=worker).json() == first
    assert client.get(PATH, headers=worker).json() == first


def test_writers_at_the_same_time_get_the_same_answer(client, worker, offered):
    bodies = [offered(f"content {number}".encode()) for number in range(6)]
    barrier = threading.Barrier(6)

    def race(body):
        barrier.wait()
        return client.put(PATH, json=body, headers=worker)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(race, bodies))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.text for answer in answers}) == 1


def test_a_set_that_was_not_uploaded_is_refused(client, worker, offered):
    answer = client.put(PATH, json=offered(files={"a.npy": digest_of(b"missing")}), headers=worker)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/shards-incomplete")


def test_a_set_whose_bytes_were_lost_is_prepared_again(client, worker, offered, services):
    body = offered(b"one")
    client.put(PATH, json=body, headers=worker)
    services.blobs.delete(body["files"]["images-0.npy"])
    assert client.get(PATH, headers=worker).status_code == 404
    again = offered(b"two")
    assert client.put(PATH, json=again, headers=worker).json() == again


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", ".hidden", "", "a\\b", "x" * 200])
def test_file_names_that_lead_elsewhere_are_refused(client, worker, offered, name, services):
    files = {name: services.blobs.put_bytes(b"x").digest}
    assert client.put(PATH, json=offered(files=files), headers=worker).status_code == 422


@pytest.mark.parametrize("wrong", [{"key": "c" * 64}, {"key": "x"}, {"windows": -1}])
def test_wrong_fields_are_refused(client, worker, offered, wrong):
    assert client.put(PATH, json=offered(**wrong), headers=worker).status_code == 422


def test_a_set_needs_its_dataset(client, worker, offered):
    answer = client.put(PATH, json=offered(dataset_id=new_id()), headers=worker)
    assert answer.json()["type"] == "/problems/dataset-not-found"


def test_only_workers_may(client, operator, viewer, offered):
    for headers in (operator, viewer):
        assert client.get(PATH, headers=headers).status_code == 403
        assert client.put(PATH, json=offered(), headers=headers).status_code == 403


def test_fields_of_a_newer_worker_are_ignored(client, worker, offered):
    assert client.put(PATH, json=offered(compression="none"), headers=worker).status_code == 200
