"""Imports as real jobs: from a folder, an archive and the generator."""

import hashlib
import json
import tarfile

import pytest

from shared.contracts.datasets import GeneratorSource
from shared.contracts.jobs import JobKind, JobState
from shared.picosam.data.generator import generate
from workers.datasets.run import _packed
from workers.harness.kinds import MODULES

SPLITS = [{"split": "all", "images": "images", "annotations": "instances.json"}]
RULE = {"from_split": "all", "fractions": {"train": 0.7, "val": 0.3}}
SMALL = GeneratorSource(images=10, width=128, height=96, max_objects=3)


@pytest.fixture
def worker(jobs_service, worker_for):
    return worker_for(jobs_service, modules={JobKind.DATASET_IMPORT: MODULES[JobKind.DATASET_IMPORT]})


def counts(dataset) -> tuple[int, int]:
    return tuple(sum(split[name] for split in dataset["splits"].values()) for name in ("images", "instances"))  # type: ignore[return-value]


def test_a_folder_is_imported_in_place_and_bad_rows_are_reported(jobs_service, worker):
    folder = jobs_service.folder / "data" / "import"
    generate(SMALL, folder)
    annotations = json.loads((folder / "instances.json").read_text())
    annotations["annotations"][0]["bbox"] = [5, 5, 100000, 5]
    annotations["annotations"][0]["segmentation"] = []
    (folder / "instances.json").write_text(json.dumps(annotations))
    (folder / "images" / "000003.jpg").unlink()
    dataset = jobs_service.imported(worker, kind="folder", root=folder.as_uri(), splits=SPLITS, split_rule=RULE)
    assert dataset["state"] == "ready"
    assert set(dataset["splits"]) == {"train", "val"}
    assert counts(dataset)[0] == 9
    report = jobs_service.client.get(f"/v1/datasets/{dataset['id']}/report").raise_for_status().json()
    assert report["problems"]["missing_image"] >= 1
    assert len(report["bad_rows"]) >= 2


def test_an_archive_holds_the_same_dataset_as_its_folder(jobs_service, worker, tmp_path):
    folder = jobs_service.folder / "data" / "same"
    generate(SMALL, folder)
    archive = _packed(folder, tmp_path / "dataset.tar")
    blob = jobs_service.client.post("/v1/blobs", content=archive.read_bytes()).raise_for_status().json()["digest"]
    placed = jobs_service.imported(worker, kind="folder", root=str(folder), splits=SPLITS, split_rule=RULE)
    packed = jobs_service.imported(worker, kind="archive", blob=blob, splits=SPLITS, split_rule=RULE)
    assert placed["digest"] is not None
    assert counts(placed) == counts(packed)


def test_the_generator_gives_the_same_dataset_every_time(jobs_service, worker):
    source = SMALL.model_dump(mode="json")
    first, second = (jobs_service.imported(worker, **source) for _ in range(2))
    assert (first["state"], set(first["splits"])) == ("ready", {"train", "val"})
    assert first["digest"].startswith("sha256:")
    assert counts(first) == counts(second)


def test_an_archive_depends_on_its_files_alone(tmp_path):
    for name in ("one", "two"):
        generate(SMALL, tmp_path / name)
        _packed(tmp_path / name, tmp_path / f"{name}.tar")
    one, two = (hashlib.sha256((tmp_path / f"{name}.tar").read_bytes()).hexdigest() for name in ("one", "two"))
    assert one == two
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert "instances.json" in tar.getnames()


def test_a_source_without_a_usable_image_fails_with_advice(jobs_service, worker):
    folder = jobs_service.folder / "data" / "empty"
    (folder / "images").mkdir(parents=True)
    (folder / "instances.json").write_text('{"images": [], "annotations": [], "categories": []}')
    dataset = jobs_service.imported(worker, kind="folder", root=str(folder), splits=SPLITS)
    assert dataset["state"] == "failed"
    job = jobs_service.job(dataset["import_job"])
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.type == "import_refused"
