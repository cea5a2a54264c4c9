"""A package is numbered and signed by the service, in the transaction that ends its job, or not at all."""

from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select

from services.jobs.models.models import ModelVersion
from services.jobs.packages.models import Package, PackageLine
from shared.kit.packages.tars import opened
from shared.kit.packages.verifying import verify
from tests.services.jobs.packages.conftest import GOLDEN


def test_a_finished_job_has_a_signed_package_that_verifies_against_the_public_keys(packaging, services, tmp_path):
    job_id = packaging.queue()
    blob = packaging.made(job_id)
    register = {"output": "model", "registered_model": "picosam2.package", "run_id": "abc", "tags": {"a": "b"}}
    answer = packaging.finish(job_id, packaging.claim(job_id), blob, register_models=[register])
    assert answer.status_code == 204, answer.text
    job = packaging.job(job_id)
    assert (job["state"], job["result"]["line"], job["result"]["release"]) == ("succeeded", "picosam2", 1)
    assert job["result"]["memory_utilization"] == 0.42
    outputs = {output["name"]: output for output in job["outputs"]}
    assert outputs["package"]["blob"] == job["result"]["package"] != blob
    package = tmp_path / "package.tar"
    package.write_bytes(packaging.get("/v1/packages/picosam2/1/file").content)
    verified = verify(package, packaging.keys)
    assert (verified.manifest.release, verified.manifest.lineage.job, verified.key_id) == (1, job_id, packaging.keys.keys[0].id)
    with opened(package) as folder:
        assert (folder / "reference.onnx").exists()
    assert not services.blobs.exists(blob)
    with services.sessions() as session:
        tags = session.scalars(select(ModelVersion.tags)).one()
    assert {"a": "b", "picofleet.package": job["result"]["package"], "picofleet.release": "picosam2/1"}.items() <= tags.items()


def test_releases_count_up_in_each_line(packaging):
    assert [packaging.done()["result"]["release"] for _ in range(3)] == [1, 2, 3]
    assert packaging.done(line="other")["result"]["release"] == 1
    assert packaging.get("/v1/packages/picosam2").json()["release"] == 3


def test_jobs_that_finish_at_once_get_different_numbers_without_gaps(packaging, race):
    jobs = [packaging.queue() for _ in range(4)]
    messages = [partial(packaging.finish, job, packaging.claim(job), packaging.made(job)) for job in jobs]
    answers = race(messages)
    assert [answer.status_code for answer in answers] == [204] * 4, [answer.text for answer in answers]
    assert sorted(packaging.job(job)["result"]["release"] for job in jobs) == [1, 2, 3, 4]
    for answer in race(messages):  # each again: harmless
        assert answer.status_code == 204
    assert len(packaging.get("/v1/packages").json()["items"]) == 4


def test_a_worker_that_lost_its_claim_signs_nothing(packaging, services):
    job_id = packaging.queue()
    blob, token = packaging.made(job_id), packaging.claim(job_id)
    answer = packaging.finish(job_id, token + 1, blob)
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/stale-token")
    with services.sessions() as session:
        assert session.scalars(select(Package)).all() == []
        assert session.scalars(select(PackageLine)).all() == []
    assert packaging.finish(job_id, token, blob).status_code == 204
    assert packaging.job(job_id)["result"]["release"] == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"line": "another"}, "its manifest says another, the job is picosam2"),
        ({"lineage": {"job": "0" * 36, "git_commit": "unknown", "parent": "a/1"}}, "its manifest says 000"),
    ],
)
def test_a_package_of_something_else_is_refused_and_no_number_is_spent(packaging, changes, told):
    job_id = packaging.queue()
    token = packaging.claim(job_id)
    answer = packaging.finish(job_id, token, packaging.made(job_id, **changes))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.package")
    assert told in answer.json()["detail"]
    assert packaging.job(job_id)["state"] == "running"
    assert packaging.finish(job_id, token, packaging.made(job_id)).status_code == 204
    assert packaging.job(job_id)["result"]["release"] == 1


def test_what_is_no_package_is_refused(packaging):
    job_id = packaging.queue()
    token = packaging.claim(job_id)
    answer = packaging.finish(job_id, token, packaging.upload(b"no tar at all"))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.package")
    assert packaging.finish(job_id, token, "sha256:" + "0" * 64).status_code == 404
    missing = packaging.finish(job_id, token)
    assert "has to bring a package" in missing.json()["detail"]


def test_a_dry_run_ends_without_a_package(packaging):
    job_id = packaging.queue(dry_run=True, golden=None)
    assert packaging.finish(job_id, packaging.claim(job_id)).status_code == 204
    job = packaging.job(job_id)
    assert (job["state"], job["outputs"]) == ("succeeded", [])
    with_package = packaging.queue(dry_run=True, golden=GOLDEN)
    answer = packaging.finish(with_package, packaging.claim(with_package), packaging.made(with_package))
    assert "a dry run makes no package" in answer.json()["detail"]


def test_a_failed_job_needs_no_package(packaging):
    job_id = packaging.queue()
    error = {"type": "does_not_fit", "message": "too large", "hint": "smaller"}
    assert packaging.finish(job_id, packaging.claim(job_id), error=error).status_code == 204
    assert packaging.job(job_id)["error"]["type"] == "does_not_fit"


def test_a_key_that_cannot_be_used_keeps_the_worker_waiting_and_loses_nothing(packaging, settings):
    job_id = packaging.queue()
    blob, token = packaging.made(job_id), packaging.claim(job_id)
    key = Path(settings.package_key)
    key.chmod(0o644)
    answer = packaging.finish(job_id, token, blob)
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/signing-unavailable")
    assert "chmod 600" in answer.json()["hint"]
    assert packaging.job(job_id)["state"] == "running"
    key.chmod(0o600)
    assert packaging.finish(job_id, token, blob).status_code == 204
    assert packaging.job(job_id)["result"]["release"] == 1
