"""From what a job names to a dataset, and to what its worker is told."""

import pytest

from services.jobs.datasets.errors import DatasetNotReady
from services.jobs.datasets.grants import grant
from services.jobs.datasets.selection import resolve
from shared.contracts.base import new_id
from shared.contracts.datasets import DatasetSelection
from shared.kit.problems import InvalidRequest


def select(session, dataset="shapes", split="train"):
    return resolve(session, DatasetSelection(dataset=dataset, split=split), field="body.train.0")


def test_a_ready_split_is_found_by_name_and_id(register, make_ready, session):
    dataset = register()
    make_ready(dataset["id"])
    assert select(session).id == select(session, dataset["id"]).id == dataset["id"]


@pytest.mark.parametrize(("dataset", "split", "field"), [("nope", "train", "dataset"), ("shapes", "test", "split")])
def test_what_is_not_there_is_named_with_its_field(register, make_ready, session, dataset, split, field):
    make_ready(register()["id"])
    with pytest.raises(InvalidRequest) as caught:
        select(session, dataset, split)
    error = caught.value.members["errors"][0]
    assert error["field"] == f"body.train.0.{field}"
    assert error["hint"]


def test_a_dataset_that_is_not_ready_is_a_conflict(register, session):
    register()
    with pytest.raises(DatasetNotReady):
        select(session)


def test_a_worker_is_told_where_the_bytes_are(register, make_ready, folder, folder_source, services, session):
    archive = services.blobs.put_bytes(b"files").digest
    in_place, generated = register(name="a", source=folder_source()), register(name="b")
    make_ready(in_place["id"])
    found = make_ready(generated["id"], archive=archive)
    first, second = grant(session, in_place["id"]), grant(session, generated["id"])
    assert (first.root, first.archive) == (folder.as_uri(), None)
    assert (second.root, second.archive, second.manifest) == (None, archive, found.manifest)


def test_an_uploaded_archive_is_granted(register, make_ready, folder_source, services, session):
    blob = services.blobs.put_bytes(b"zip").digest
    dataset = register(source={"kind": "archive", "blob": blob, "splits": folder_source()["splits"]})
    make_ready(dataset["id"])
    assert grant(session, dataset["id"]).archive == blob


def test_nothing_is_granted_of_what_is_gone_or_not_ready(register, session):
    assert grant(session, register()["id"]) is None
    assert grant(session, new_id()) is None
