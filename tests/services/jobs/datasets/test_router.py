"""Datasets over HTTP."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from services.jobs.datasets import imports
from services.jobs.datasets.models import Dataset
from services.jobs.jobs.models import Job
from services.jobs.shards.models import ShardSetRow
from shared.contracts.base import digest_of, new_id
from shared.contracts.datasets import DatasetOut


def errors(answer):
    assert answer.status_code == 422, answer.text
    return {error["field"]: error for error in answer.json()["errors"]}


def test_registering_queues_the_import_in_the_same_breath(client, register, viewer, session):
    dataset = DatasetOut.model_validate(register(tags={"site": "roof"}, description="shapes"))
    assert (dataset.name, dataset.state, dataset.owner) == ("shapes", "importing", "a-operator")
    job = session.get_one(Job, dataset.import_job)
    assert (job.kind, job.state, job.owner) == ("dataset_import", "queued", "a-operator")
    assert job.spec["dataset_id"] == dataset.id
    for name_or_id in (dataset.id, "shapes"):
        assert client.get(f"/v1/datasets/{name_or_id}", headers=viewer).json()["id"] == dataset.id


def test_a_refused_registration_queues_nothing(client, register, operator, body, session):
    register()
    assert client.post("/v1/datasets", json=body(), headers=operator).json()["type"] == "/problems/dataset-name-taken"
    assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_of_two_who_register_a_name_at_once_one_succeeds(client, operator, body, session):
    barrier = threading.Barrier(6)

    def race(_):
        barrier.wait()
        return client.post("/v1/datasets", json=body(), headers=operator).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(race, range(6))) == [201] + [409] * 5
    assert session.scalar(select(func.count()).select_from(Dataset)) == 1
    assert session.scalar(select(func.count()).select_from(Job)) == 1


def test_a_repeated_registration_gets_the_first_answer(client, operator, body):
    headers = operator | {"Idempotency-Key": "k"}
    first, second = (client.post("/v1/datasets", json=body(), headers=headers) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert client.post("/v1/datasets", json=body(name="b"), headers=headers).json()["type"] == "/problems/idempotency-conflict"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "No Spaces"}, "body.name"),
        ({"name": new_id()}, "body.name"),
        ({"colour": "red"}, "body.colour"),
        ({"source": {"kind": "generator", "seed": -1}}, "body.source.generator.seed"),
        ({"source": {"kind": "ftp"}}, "body.source"),
        ({"tags": {"a": 1}}, "body.tags.a"),
        ({"split_rule": {"fractions": {"train": 0.5}}}, "body.split_rule"),
    ],
)
def test_wrong_fields_are_named(client, operator, body, wrong, field):
    assert field in errors(client.post("/v1/datasets", json=body(**wrong), headers=operator))


def test_a_folder_is_registered_by_its_real_path(client, register, folder, folder_source, viewer):
    (folder.parent / "link").symlink_to(folder)
    dataset = register(source=folder_source(root=folder.parent / "link"))
    assert dataset["source"]["root"] == str(folder)


def test_a_folder_outside_of_the_roots_is_refused(client, operator, body, folder_source):
    answer = client.post("/v1/datasets", json=body(source=folder_source(root="/etc")), headers=operator)
    assert answer.json()["type"] == "/problems/path-refused"
    assert "body.source.root" in errors(answer)


def test_missing_files_are_refused_at_once(client, operator, body, folder_source):
    answer = client.post("/v1/datasets", json=body(source=folder_source(annotations="nope.json")), headers=operator)
    assert "body.source.splits.0.annotations" in errors(answer)


def test_splits_are_named_once_and_a_rule_needs_its_split(client, operator, body, folder_source):
    source = folder_source()
    twice = source | {"splits": source["splits"] * 2}
    assert "body.source.splits.1.split" in errors(client.post("/v1/datasets", json=body(source=twice), headers=operator))
    rule = {"from_split": "all", "fractions": {"train": 0.8, "val": 0.2}}
    answer = client.post("/v1/datasets", json=body(source=source, split_rule=rule), headers=operator)
    assert errors(answer)["body.split_rule.from_split"]["hint"] == "the source has train"


def test_an_archive_must_have_been_uploaded_and_its_paths_stay_inside(client, operator, body, folder_source, services):
    splits = folder_source()["splits"]
    source = {"kind": "archive", "blob": digest_of(b"zip"), "splits": splits}
    assert "body.source.blob" in errors(client.post("/v1/datasets", json=body(source=source), headers=operator))
    services.blobs.put_bytes(b"zip")
    evil = source | {"splits": [splits[0] | {"images": "../../etc"}]}
    assert "body.source.splits.0.images" in errors(client.post("/v1/datasets", json=body(source=evil), headers=operator))
    assert client.post("/v1/datasets", json=body(source=source), headers=operator).status_code == 201


def test_a_ready_dataset_shows_what_was_found(client, register, make_ready, viewer):
    dataset = register()
    assert client.get("/v1/datasets/shapes/report", headers=viewer).json()["type"] == "/problems/dataset-not-ready"
    found = make_ready(dataset["id"])
    ready = DatasetOut.model_validate(client.get("/v1/datasets/shapes", headers=viewer).json())
    assert (ready.state, ready.digest, ready.manifest) == ("ready", found.digest, found.manifest)
    assert (ready.splits["train"].instances, ready.problems) == (3, {"empty_polygon": 1})
    report = client.get("/v1/datasets/shapes/report", headers=viewer)
    assert report.headers["content-type"] == "application/json"
    assert report.json()["problems"] == {"empty_polygon": 1}


def test_datasets_are_listed_by_state_in_pages(client, register, make_ready, viewer):
    ids = [register(name=f"d{number}")["id"] for number in range(3)]
    make_ready(ids[1])
    first = client.get("/v1/datasets", params={"limit": 2}, headers=viewer).json()
    assert [one["name"] for one in first["items"]] == ["d2", "d1"]
    rest = client.get("/v1/datasets", params={"limit": 2, "cursor": first["next_cursor"]}, headers=viewer).json()
    assert [one["name"] for one in rest["items"]] == ["d0"]
    ready = client.get("/v1/datasets", params={"state": "ready"}, headers=viewer).json()
    assert [one["name"] for one in ready["items"]] == ["d1"]
    assert client.get("/v1/datasets", params={"state": "odd"}, headers=viewer).status_code == 422


def test_a_dataset_that_a_job_needs_is_not_deleted(client, register, operator):
    dataset = register()
    answer = client.delete("/v1/datasets/shapes", headers=operator)
    assert (answer.status_code, answer.json()["jobs"]) == (409, [dataset["import_job"]])


def test_deleted_by_force_its_jobs_fail_with_what_to_do(client, register, operator, session):
    dataset = register()
    assert client.delete("/v1/datasets/shapes", params={"force": True}, headers=operator).status_code == 204
    job = session.get_one(Job, dataset["import_job"])
    assert (job.state, job.error["type"]) == ("failed", "dataset_gone")
    assert client.get("/v1/datasets/shapes", headers=operator).json()["type"] == "/problems/dataset-not-found"


@pytest.fixture
def finished(register, make_ready, services):
    """Registers datasets whose import is over."""

    def finished(name, content, **overrides):
        dataset = register(name=name, **overrides)
        make_ready(dataset["id"], content)
        with services.sessions.begin() as session:
            session.get_one(Job, dataset["import_job"]).state = "succeeded"
        return dataset

    return finished


def gone(services, *digests):
    """Waits for the blobs to go: they are deleted after the answer."""
    give_up = time.monotonic() + 5
    while any(map(services.blobs.exists, digests)):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def offer_shards(client, worker, services, dataset, key="a" * 64):
    digest = services.blobs.put_bytes(f"shard {key}".encode()).digest
    body = {"key": key, "dataset_id": dataset["id"], "files": {"index.npz": digest}, "windows": 1, "size_bytes": 9}
    assert client.put(f"/v1/worker/shards/{key}", json=body, headers=worker).status_code == 200
    return digest


def test_with_a_dataset_go_its_shards_and_bytes(client, finished, operator, worker, services):
    dataset = finished("a", b"manifest a")
    shard = offer_shards(client, worker, services, dataset)
    client.delete("/v1/datasets/a", headers=operator)
    gone(services, shard, digest_of(b"manifest a"))
    assert client.get(f"/v1/worker/shards/{'a' * 64}", headers=worker).status_code == 404


def test_bytes_that_another_dataset_needs_stay(client, finished, operator, services, folder_source):
    archive = services.blobs.put_bytes(b"zip").digest
    source = {"kind": "archive", "blob": archive, "splits": folder_source()["splits"]}
    finished("a", b"manifest a", source=source)
    finished("b", b"manifest b", source=source)
    client.delete("/v1/datasets/a", headers=operator)
    assert services.blobs.exists(archive)
    assert services.blobs.exists(digest_of(b"manifest b"))
    gone(services, digest_of(b"manifest a"))
    client.delete("/v1/datasets/b", headers=operator)
    gone(services, archive)


def test_a_twin_inherits_the_shards(client, finished, operator, worker, services, session):
    first, second = finished("a", b"same"), finished("b", b"same")
    shard = offer_shards(client, worker, services, first)
    client.delete("/v1/datasets/a", headers=operator)
    assert services.blobs.exists(shard)
    assert session.scalars(select(ShardSetRow.dataset_id)).all() == [second["id"]]


def test_the_import_of_a_deleted_dataset_changes_nothing(register, client, operator, services):
    dataset = register()
    client.delete("/v1/datasets/shapes", params={"force": True}, headers=operator)
    with services.sessions.begin() as session:
        assert not imports.fail(session, dataset["id"], "late")
        assert not imports.restart(session, dataset["id"])


def test_a_failed_import_says_why_and_can_be_tried_again(register, make_ready, client, viewer, services):
    dataset = register()
    with services.sessions.begin() as session:
        assert imports.fail(session, dataset["id"], "disk full")
    shown = client.get("/v1/datasets/shapes", headers=viewer).json()
    assert (shown["state"], shown["error"]) == ("failed", "disk full")
    with services.sessions.begin() as session:
        assert imports.restart(session, dataset["id"])
    make_ready(dataset["id"])
    shown = client.get("/v1/datasets/shapes", headers=viewer).json()
    assert (shown["state"], shown["error"]) == ("ready", None)


def test_a_ready_dataset_is_not_failed_by_a_late_word(register, make_ready, services, client, viewer):
    dataset = register()
    make_ready(dataset["id"])
    with services.sessions.begin() as session:
        assert not imports.fail(session, dataset["id"], "late")
    assert client.get("/v1/datasets/shapes", headers=viewer).json()["state"] == "ready"


def test_names_from_the_url_are_only_names(client, viewer):
    for name in ("%2e%2e", "a'--", "x" * 5000, json.dumps({"a": 1})):
        assert client.get(f"/v1/datasets/{name}", headers=viewer).status_code == 404
