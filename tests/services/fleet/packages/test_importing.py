"""Fetching packages from the jobs service: verified, stored once, or not at all."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select

from services.fleet.packages import importing
from services.fleet.packages.models import Package
from services.jobs.jobs.models import Job
from shared.client.resources.models import Models
from shared.contracts.models import LineageOut, VersionOut
from shared.kit.packages.keys import generate
from shared.kit.packages.signing import sign_package


def test_an_imported_package_has_its_digests_and_its_bytes(packages):
    packages.published()
    answer = packages.import_()
    assert answer.status_code == 201, answer.text
    made = answer.json()
    (file,) = made["files"]
    (tar,) = packages.folder.glob("*.tar")
    content = tar.read_bytes()
    digests = {name: hashlib.new(name, content).hexdigest() for name in ("md5", "sha1", "sha256")}
    assert file == digests | {
        "part": "picosam2",
        "filename": "picosam2-3.tar",
        "format": "package",
        "size_bytes": len(content),
    }
    assert packages.blobs() == [digests["sha256"]]
    assert (made["ref"], made["release"], made["kind"], made["model"]) == ("picosam2/3", 3, "model", "picosam2.imx500/3")
    assert made["key_id"] == packages.jobs.app.state.services.signer.trusted().keys[0].id
    assert (made["imported_by"], packages.get("/picosam2/3").json()) == ("a-operator", made)


def test_the_same_again_is_the_one_that_is_there(packages):
    packages.published()
    first, again = packages.import_(), packages.import_()
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert packages.refs() == ["picosam2/3"]


def test_the_same_request_means_the_same_package_when_another_is_newer_by_now(packages, monkeypatch):
    refs = ["picosam2/3", "picosam2/4"]
    packages.published(3), packages.published(4)
    found = {"created_at": "2026-01-01T00:00:00Z", "name": "picosam2", "version": "2"}
    monkeypatch.setattr(Models, "version", lambda *_: VersionOut(tags={"picofleet.release": refs[0]}, **found))
    first = packages.import_(model="picosam2/2", key="k")
    refs.reverse()
    again = packages.import_(model="picosam2/2", key="k")
    assert (again.status_code, again.content, again.headers["Idempotency-Replayed"]) == (201, first.content, "true")
    assert packages.refs() == ["picosam2/3"]
    other = packages.import_("picosam2/4", key="k")
    assert (other.status_code, other.json()["type"]) == (409, "/problems/idempotency-conflict")
    assert packages.refs() == ["picosam2/3"]
    assert packages.import_(model="picosam2/2", key="another").json()["ref"] == "picosam2/4"


def test_a_job_names_the_package_that_it_made(packages):
    job = packages.published()
    assert packages.import_(job=job).json()["ref"] == "picosam2/3"


def test_a_model_version_names_the_newest_package_that_was_made_of_it(packages, monkeypatch):
    packages.published(3), packages.published(4), packages.published(5, line="other")
    node = {"id": "version:x", "kind": "version", "label": "picosam2.imx500/3", "distance": 1}
    lineage = LineageOut(root="version:picosam2/2", nodes=[node], edges=[])
    tags = {"picosam2/2": {}, "picosam2.package/1": {"picofleet.release": "picosam2/3"}}

    found = {"created_at": "2026-01-01T00:00:00Z"}
    # The registry is not run in these tests.
    monkeypatch.setattr(
        Models,
        "version",
        lambda _, name, version: VersionOut(name=name, version=version, tags=tags[f"{name}/{version}"], **found),
    )
    monkeypatch.setattr(Models, "lineage", lambda *_: lineage)
    assert packages.import_(model="picosam2.package/1").json()["ref"] == "picosam2/3"
    assert packages.import_(model="picosam2/2").json()["ref"] == "other/5"
    lineage.nodes.clear()
    answer = packages.import_(model="picosam2/2")
    assert (answer.status_code, answer.json()["detail"]) == (422, "body.model: picosam2/2 was not packaged")


class TestRefused:
    def test_what_is_not_there(self, packages):
        job = packages.published()
        for body, field in (
            ({"package": "picosam2/4"}, "body.package"),
            ({"package": "nobody/3"}, "body.package"),
            ({"package": "picosam2/three"}, "body.package"),
            ({"package": "picosam2/99999999999"}, "body.package"),
            ({"job": "nobody"}, "body.job"),
            ({"job": "../keys"}, "body.job"),
            ({"model": "picosam2"}, "body.model"),
            ({"model": "picosam2/x"}, "body.model"),
            ({"package": "picosam2/3", "job": job}, "body"),
            ({"package": None}, "body"),
        ):
            answer = packages.import_(**body)
            assert answer.status_code == 422, (body, answer.text)
            assert answer.json()["errors"][0]["field"] == field
        assert packages.blobs() == packages.refs() == []

    def test_a_job_that_made_nothing(self, packages):
        job = packages.published()
        jobs = packages.jobs.app.state.sessions
        with jobs.begin() as session:
            session.get_one(Job, job).result = {}
        answer = packages.import_(job=job)
        assert (answer.status_code, "made no package" in answer.json()["detail"]) == (422, True), answer.text

    def test_a_damaged_file_is_named(self, packages, unpacked):
        (unpacked / "reference.onnx").write_bytes(b"something else")
        packages.put_tar(unpacked)
        answer = packages.import_()
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/package-refused")
        assert answer.json()["file"] == "reference.onnx"
        assert packages.blobs() == packages.refs() == []

    def test_a_forged_signature(self, packages, unpacked, tmp_path):
        generate(tmp_path / "forger.pem")
        sign_package(unpacked, tmp_path / "forger.pem")
        packages.put_tar(unpacked)
        assert packages.import_().json()["file"] == "model.sig"
        (unpacked / "model.sig").unlink()
        packages.put_tar(unpacked)
        assert "model.sig is missing" in packages.import_().json()["detail"]
        assert packages.blobs() == []

    def test_bytes_that_were_damaged_on_their_way(self, packages):
        packages.published()
        packages.jobs_row(digest="sha256:" + "0" * 64)
        store = packages.jobs.app.state.services.blobs
        place = Path(store.path("sha256:" + "0" * 64))
        place.parent.mkdir(parents=True)
        place.write_bytes(b"no tar at all")
        answer = packages.import_()
        assert (answer.status_code, answer.json()["file"]) == (422, "picosam2-3.tar")

    def test_another_package_than_was_said(self, packages):
        packages.published(release=3)
        packages.jobs_row(manifest="sha256:" + "0" * 64)
        answer = packages.import_()
        assert (answer.json()["type"], answer.json()["file"]) == ("/problems/package-refused", "manifest.json")

    def test_another_content_under_the_same_name(self, packages):
        packages.published()
        packages.import_()
        packages.jobs_row(manifest="sha256:" + "0" * 64)
        answer = packages.import_()
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/package-differs")
        assert packages.get("/picosam2/3").status_code == 200

    def test_what_only_operators_may(self, packages, viewer):
        answer = packages.http.post("/v1/fleet/packages", json={"package": "picosam2/3"}, headers=viewer)
        assert answer.status_code == 403

    class TestTooLarge:
        @pytest.fixture
        def settings(self, settings):
            return settings.model_copy(update={"max_package_bytes": 1000})

        def test_is_not_even_fetched(self, packages):
            packages.published()
            answer = packages.import_()
            assert (answer.status_code, answer.json()["type"]) == (413, "/problems/package-too-large")

        def test_also_if_its_size_was_a_lie(self, packages):
            packages.published()
            packages.jobs_row(size_bytes=10)
            assert packages.import_().status_code == 413
            assert packages.blobs() == []

    class TestWhileTheJobsServiceIsAway:
        @pytest.fixture
        def settings(self, settings, free_port_number):
            return settings.model_copy(update={"jobs_url": f"http://127.0.0.1:{free_port_number}"})

        def test_it_is_said(self, packages, services, monkeypatch, jobs):
            monkeypatch.setattr(services.keys, "_http", httpx.Client(base_url=jobs.url))
            answer = packages.import_()
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/packages-away")
            assert "Retry-After" in answer.headers


def test_of_two_imports_at_once_one_makes_it(packages):
    packages.published()
    barrier = threading.Barrier(3)

    def import_(_):
        barrier.wait()
        return packages.import_()

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(import_, range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(packages.blobs()) == 1


def test_bytes_that_vanish_while_they_are_imported_are_put_back(packages, monkeypatch):
    packages.published()
    made = importing.files_of_import

    def and_delete(services, tar, verified):
        files = made(services, tar, verified)
        services.blobs.delete(f"sha256:{files[0].sha256}")
        return files

    monkeypatch.setattr(importing, "files_of_import", and_delete)
    assert packages.import_().status_code == 201
    assert len(packages.blobs()) == 1


def test_what_fails_at_last_leaves_nothing(packages, monkeypatch):
    packages.published()

    def fail(*_, **__):
        raise RuntimeError("the power fails")

    monkeypatch.setattr(importing, "record", fail)
    assert packages.import_().status_code == 500
    with packages.services.sessions() as session:
        assert session.scalars(select(Package)).all() == packages.blobs() == []
