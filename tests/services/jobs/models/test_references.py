"""A job that starts from a registered version."""

import re
import subprocess
import sys
import threading

import pytest

from services.jobs.models import references, registration
from services.jobs.models.domain import Kind
from services.jobs.models.errors import RegistryAway, VersionInUse
from services.jobs.models.service import delete_version
from shared.contracts.tags import PACKAGE_TAG, PARENT_VERSION_TAG, QUANTIZATION_TAG
from shared.kit.mlflow_api import MlflowApi
from shared.kit.problems import InvalidRequest


def test_a_number_and_an_alias_mean_the_same_version(make, mlflow):
    version = make.version()
    mlflow.set_alias(make.name, "champion", version)
    by_number, by_alias = (references.resolve(mlflow, f"{make.name}{how}") for how in (f"/{version}", "@champion"))
    assert by_number == by_alias
    assert by_number.artifact_uri.endswith("/artifacts/model")


@pytest.mark.parametrize("text", ["{name}/99", "nobody/1", "{name}@nobody", "nobody@champion", "no reference"])
def test_what_does_not_exist_is_a_wrong_field(make, mlflow, text):
    make.version()
    with pytest.raises(InvalidRequest) as refused:
        references.resolve(mlflow, text.format(name=make.name))
    assert refused.value.members["errors"][0]["field"] == "body.initial_model"


def test_without_mlflow_it_is_said_that_mlflow_is_away():
    with MlflowApi("http://127.0.0.1:9") as nobody, pytest.raises(RegistryAway):
        references.resolve(nobody, "m/1")


def test_a_training_that_names_a_wrong_version_is_refused(client, operator, make):
    selection = {"dataset": "d", "split": "train"}
    body = {"train": [selection], "validation": selection | {"split": "val"}, "initial_model": f"{make.name}/1"}
    answer = client.post("/v1/jobs/training", json=body, headers=operator)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.initial_model"


def test_a_version_whose_deletion_has_begun_cannot_be_held(services, make, mlflow, monkeypatch):
    version = make.version()
    found = references.look_up(mlflow, f"{make.name}/{version}")
    delete_version(services, make.name, version)
    with services.sessions.begin() as session, pytest.raises(InvalidRequest):
        references.hold(session, [("teacher", "body.teacher.model", found)])


def test_of_a_deletion_and_a_job_at_the_same_time_one_wins(services, make, mlflow):
    """The job holds the version's row until it is committed; the deletion waits for that and then sees the job."""
    version = make.version()
    found = references.look_up(mlflow, f"{make.name}/{version}")
    outcome = []

    def delete():
        try:
            delete_version(services, make.name, version)
            outcome.append("deleted")
        except VersionInUse as exc:
            outcome.append(exc.members["jobs"])

    deleting = threading.Thread(target=delete)
    with services.sessions.begin() as session:
        held = references.hold(session, [("initial_model", "body.initial_model", found)])
        deleting.start()
        deleting.join(0.5)
        assert outcome == []
        job_id = make.job_in(session, initial=held["initial_model"])
    deleting.join(30)
    assert outcome == [[job_id]]
    assert make.versions_in_mlflow() == [version]


def test_the_service_imports_neither_mlflow_nor_torch():
    """MLflow's client alone would take 2 of the 3 seconds in which a service has to start."""
    code = "import sys, services.jobs.app; print([name for name in ('mlflow', 'torch', 'pandas') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("tags", "kind", "told", "hint"),
    [
        ({}, "sensor", "is a float version", "picofleet quantize {name}/1"),
        (
            {QUANTIZATION_TAG: "int8", PARENT_VERSION_TAG: "picosam2/7"},
            "sensor",
            "is quantized for CPUs (int8)",
            "quantize picosam2/7, from which it was made, for platform imx500",
        ),
        ({QUANTIZATION_TAG: "fake_quant", PARENT_VERSION_TAG: "picosam2/7"}, "float", "is quantized already", "picosam2/7"),
        ({PACKAGE_TAG: "sha256:1", PARENT_VERSION_TAG: "picosam2.imx500/3"}, "network", "is a package", "picosam2.imx500/3"),
        ({PACKAGE_TAG: "sha256:1", PARENT_VERSION_TAG: "picosam2.imx500/3"}, "sensor", "is a package", "picosam2.imx500/3"),
    ],
)
def test_a_version_of_another_sort_is_refused_with_the_one_to_name_instead(make, mlflow, tags, kind, told, hint):
    make.finish(make.job(), tags=tags)
    registration.tick(make.services)
    with pytest.raises(InvalidRequest, match=re.escape(told)) as refused:
        references.resolve(mlflow, f"{make.name}/1", kind=Kind(kind))
    assert hint.format(name=make.name) in refused.value.members["errors"][0]["hint"]


def test_a_packaging_of_a_float_version_is_refused(client, operator, make):
    make.version()
    body = {"model": f"{make.name}/1", "dry_run": True}
    answer = client.post("/v1/jobs/packaging", json=body, headers=operator)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "body.model"
