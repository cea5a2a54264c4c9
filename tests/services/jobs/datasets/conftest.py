"""Datasets for tests."""

import json
from typing import Any

import pytest

from services.jobs.datasets import imports
from shared.contracts.base import digest_of
from shared.contracts.datasets import DatasetReport, SplitCounts
from shared.contracts.worker import ImportedDataset


def a_generator(**overrides: Any) -> dict[str, Any]:
    return {"name": "shapes", "source": {"kind": "generator", "seed": 1}} | overrides


@pytest.fixture
def body():
    """Makes the body of a registration."""
    return a_generator


@pytest.fixture
def register(client, operator):
    """Registers a dataset and gives the answer's JSON."""

    def register(**overrides):
        answer = client.post("/v1/datasets", json=a_generator(**overrides), headers=operator)
        assert answer.status_code == 201, answer.text
        return answer.json()

    return register


@pytest.fixture
def make_ready(services):
    """Ends a dataset's import as its worker would; gives what was found."""

    def make_ready(dataset_id, content=b"manifest", archive=None):
        report = DatasetReport(splits={"train": SplitCounts(images=2, instances=3)}, problems={"empty_polygon": 1}, bad_rows=[])
        blobs = services.blobs
        found = ImportedDataset(
            digest=digest_of(content),
            manifest=blobs.put_bytes(content).digest,
            report=blobs.put_bytes(json.dumps(report.model_dump(mode="json")).encode()).digest,
            archive=archive,
            splits={"train": {"images": 2, "instances": 3, "crowd": 0}},
            problems={"empty_polygon": 1},
        )
        with services.sessions.begin() as session:
            assert imports.complete(session, dataset_id, found)
        return found

    return make_ready


@pytest.fixture
def folder(tmp_path):
    """A folder in COCO layout below the allowed root."""
    root = tmp_path / "data" / "coco"
    (root / "images").mkdir(parents=True)
    (root / "train.json").write_text("{}")
    return root


@pytest.fixture
def folder_source(folder):
    """Makes a folder source."""

    def source(root=folder, images="images", annotations="train.json", split="train"):
        return {"kind": "folder", "root": str(root), "splits": [{"split": split, "images": images, "annotations": annotations}]}

    return source
