"""Packages that are here: listed, downloaded, deleted."""

import pytest

from services.fleet.actions.models import Action
from services.fleet.cameras.models import Camera
from services.fleet.events.models import Event
from services.fleet.packages import removing
from services.fleet.packages.models import Package
from services.fleet.rollouts.models import Rollout


@pytest.fixture
def imported(packages):
    packages.published()
    answer = packages.import_()
    assert answer.status_code == 201, answer.text
    return answer.json()


def rollout_of(package, state):
    return Rollout(
        name="r", package_id=package["id"], spec={}, state=state, priority=50, budget={}, created_by="a-test", planned=True
    )


def camera(**columns):
    values = {"controller_id": "a", "format": "package", "labels": {}, "attributes": {}, "registered_by": "a-test"}
    return Camera(**values | columns)


def test_they_are_listed_newest_first_by_line_and_in_pages(packages):
    for line, release in (("picosam2", 1), ("other", 1), ("picosam2", 2)):
        packages.published(release, line=line)
        packages.import_(f"{line}/{release}")
    first = packages.get(limit=2).json()
    rest = packages.get(limit=2, cursor=first["next_cursor"]).json()
    assert [item["ref"] for item in first["items"] + rest["items"]] == ["picosam2/2", "other/1", "picosam2/1"]
    assert packages.refs(name="picosam2") == ["picosam2/2", "picosam2/1"]
    assert packages.refs(kind="software") == []


@pytest.mark.usefixtures("imported")
def test_what_is_not_there_is_said(packages):
    for path in ("/nobody/3", "/picosam2/4", "/picosam2/4/file", "/%F0%9F%93%B7/x"):
        assert packages.get(path).json()["type"] == "/problems/fleet-package-not-found", path
    assert packages.get("/picosam2/3/file", filename="../x").json()["type"] == "/problems/package-file-not-found"
    assert packages.get("/a%00/3").status_code == 400
    assert packages.delete("picosam2/4").status_code == 404


@pytest.mark.usefixtures("imported")
def test_a_package_can_be_fetched_in_parts(packages):
    (tar,) = packages.folder.glob("*.tar")
    whole = packages.get("/picosam2/3/file")
    assert whole.content == tar.read_bytes()
    part = packages.get("/picosam2/3/file", {"Range": "bytes=512-1023", "If-Range": whole.headers["etag"]})
    assert (part.status_code, part.content) == (206, whole.content[512:1024])
    assert packages.get("/picosam2/3/file", {"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert packages.get("/picosam2/3/file", {"Range": "bytes=999999999-"}).status_code == 416
    named = packages.get("/picosam2/3/file", filename="picosam2-3.tar")
    assert (named.status_code, 'filename="picosam2-3.tar"' in named.headers["content-disposition"]) == (200, True)


def test_a_deleted_package_is_gone_with_its_bytes_and_can_come_again(packages, imported):
    assert packages.delete().status_code == 204
    assert (packages.refs(), packages.blobs()) == ([], [])
    with packages.services.sessions() as session:
        assert session.get_one(Package, imported["id"]).deleted_at is not None
        told = [(event.type, event.actor, event.detail["package"]) for event in session.query(Event).order_by(Event.seq)]
    assert told == [("package.imported", "a-operator", "picosam2/3"), ("package.deleted", "a-operator", "picosam2/3")]
    again = packages.import_()
    assert (again.status_code, again.json()["id"] != imported["id"], len(packages.blobs())) == (201, True, 1)


class TestNeeded:
    def test_by_a_rollout_that_is_not_over(self, packages, imported):
        with packages.services.sessions.begin() as session:
            session.add(rollout := rollout_of(imported, "draft"))
        for state in ("draft", "running", "paused", "rolling_back"):
            with packages.services.sessions.begin() as session:
                session.get_one(Rollout, rollout.id).state = state
            refused = packages.delete()
            assert (refused.status_code, refused.json()["type"]) == (409, "/problems/package-in-use")
            assert refused.json()["rollouts"] == [rollout.id]
        assert packages.delete(force=True).status_code == 204

    def test_by_cameras_until_they_are_gone(self, packages, imported):
        with packages.services.sessions.begin() as session:
            session.add(camera(controller_id="a", current_package_id=imported["id"]))
            session.add(camera(controller_id="b", last_good_package_id=imported["id"]))
        assert packages.delete().json()["cameras"] == 2
        with packages.services.sessions.begin() as session:
            for each in session.query(Camera):
                each.deleted_at = each.registered_at
        assert packages.delete().status_code == 204

    def test_by_an_action_that_is_open(self, packages, imported):
        with packages.services.sessions.begin() as session:
            session.add(one := camera())
            session.flush()
            session.add(Action(kind="install", camera_id=one.id, package_id=imported["id"], state="pending"))
        assert packages.delete().json()["cameras"] == 1

    def test_not_by_a_rollout_that_is_over(self, packages, imported):
        with packages.services.sessions.begin() as session:
            session.add_all(rollout_of(imported, state) for state in ("finished", "aborted", "rolled_back"))
        assert packages.delete().status_code == 204


def test_bytes_that_another_package_has_too_stay(packages, imported):
    with packages.services.sessions.begin() as session:
        session.add(other := Package(kind="software", name="other", version="1", imported_by="a-test"))
        session.flush()
        (file,) = imported["files"]
        row = removing.repository.files(session, [imported["id"]])[imported["id"]][0]
        session.add(type(row)(package_id=other.id, part="p", filename="f", format="any", **digests(file)))
    packages.delete()
    assert packages.blobs() == [file["sha256"]]
    assert packages.delete("other/1").status_code == 204
    assert packages.blobs() == []


def digests(file):
    return {name: file[name] for name in ("size_bytes", "sha256", "sha1", "md5")}


@pytest.mark.usefixtures("imported")
def test_what_a_killed_process_left_is_removed_later(packages, monkeypatch):
    remove = removing.remove_unused
    monkeypatch.setattr(removing, "remove_unused", lambda *_: None)
    packages.delete()
    assert len(packages.blobs()) == 1
    monkeypatch.setattr(removing, "remove_unused", remove)
    removing.remove_forgotten(packages.services)
    assert packages.blobs() == []


@pytest.mark.usefixtures("imported")
def test_only_operators_delete(packages, viewer):
    assert packages.http.delete("/v1/fleet/packages/picosam2/3", headers=viewer).status_code == 403
    assert packages.http.get("/v1/fleet/packages/picosam2/3/file", headers=viewer).status_code == 200
