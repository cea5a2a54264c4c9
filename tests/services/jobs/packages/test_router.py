"""What users read of packages and keys."""

import pytest

from shared.kit.packages.errors import ReleaseTooOld
from shared.kit.packages.keys import generate, read_trusted, trust
from shared.kit.packages.statements import SignedStatement
from shared.kit.packages.verifying import verify


def test_packages_are_listed_newest_first_by_line_and_in_pages(packaging):
    packaging.done(), packaging.done(line="other"), packaging.done()
    first = packaging.get("/v1/packages", limit=2).json()
    rest = packaging.get("/v1/packages", limit=2, cursor=first["next_cursor"]).json()
    found = [(each["line"], each["release"]) for each in first["items"] + rest["items"]]
    assert found == [("picosam2", 2), ("other", 1), ("picosam2", 1)]
    assert [each["release"] for each in packaging.get("/v1/packages", line="other").json()["items"]] == [1]
    one = packaging.get("/v1/packages/picosam2/2").json()
    assert (one["model"], one["version"], one["rpk"], one["registered_as"]) == ("picosam2.imx500", 3, "pending", None)
    assert packaging.get("/v1/packages/picosam2").json() == one


@pytest.mark.parametrize("path", ["nobody", "nobody/1", "picosam2/9", "picosam2/9/file"])
def test_what_is_not_there_is_said(packaging, path):
    packaging.done()
    answer = packaging.get(f"/v1/packages/{path}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/package-not-found")


def test_a_package_can_be_fetched_in_parts(packaging):
    packaging.done()
    whole = packaging.get("/v1/packages/picosam2/1/file")
    assert len(whole.content) == packaging.get("/v1/packages/picosam2/1").json()["size_bytes"]
    assert 'filename="picosam2-1.tar"' in whole.headers["content-disposition"]
    part = packaging.http.get(
        "/v1/packages/picosam2/1/file", headers=packaging.user | {"Range": "bytes=512-1023", "If-Range": whole.headers["etag"]}
    )
    assert (part.status_code, part.content) == (206, whole.content[512:1024])


def test_keys_are_public_but_not_to_everybody(packaging):
    assert packaging.http.get("/v1/package-keys").status_code == 401
    (key,) = packaging.keys.keys
    assert "BEGIN PUBLIC KEY" in key.public_key
    assert "PRIVATE" not in packaging.get("/v1/package-keys").text


def test_a_rotated_list_is_shown_at_once(packaging, services, tmp_path):
    old = packaging.keys.keys[0].id
    new = generate(tmp_path / "next.pem")
    trust(services.signer.public_keys, new)
    assert {key.id for key in packaging.keys.keys} == {old, new.id}


class TestWithoutAKey:
    @pytest.fixture
    def settings(self, settings):
        return settings.model_copy(update={"package_key": None})

    def test_there_are_no_public_keys(self, packaging):
        answer = packaging.get("/v1/package-keys")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/packages-not-signed")

    def test_a_packaging_is_refused_at_once_but_a_dry_run_is_not(self, client, operator):
        body = {"model": "nobody/1", "golden": {"dataset": {"dataset": "shapes", "split": "val"}}}
        answer = client.post("/v1/jobs/packaging", json=body, headers=operator)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/packages-not-signed")
        assert "PICOFLEET_JOBS_PACKAGE_KEY" in answer.json()["hint"]
        dry = client.post("/v1/jobs/packaging", json={"model": "nobody/1", "dry_run": True}, headers=operator)
        assert dry.status_code == 503  # of the registry, which is away in this test


def test_a_key_is_made_once_for_the_owner_alone(packaging, services):
    key = services.signer.key
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    before = key.read_bytes(), packaging.keys
    services.signer.ensure()
    assert (key.read_bytes(), read_trusted(services.signer.public_keys)) == before


def test_a_signed_return_takes_a_camera_back_to_an_older_release(packaging, admin, tmp_path):
    packaging.done(), packaging.done()
    body = {"from_release": 2, "to_release": 1, "reason": "masks too small"}
    answer = packaging.http.post("/v1/packages/picosam2/returns", json=body, headers=admin)
    assert answer.status_code == 201, answer.text
    statement = SignedStatement(answer.json()["statement"].encode(), answer.json()["signature"].encode())
    package = tmp_path / "package.tar"
    package.write_bytes(packaging.get("/v1/packages/picosam2/1/file").content)
    with pytest.raises(ReleaseTooOld):
        verify(package, packaging.keys, floor=2)
    assert verify(package, packaging.keys, floor=2, statement=statement).returned_by.reason == "masks too small"


def test_a_return_is_the_operator_s_and_leads_back_to_what_is_there(packaging, operator, viewer):
    packaging.done(), packaging.done()
    body = {"from_release": 2, "to_release": 1, "reason": "r"}
    assert packaging.http.post("/v1/packages/picosam2/returns", json=body, headers=viewer).status_code == 403
    forth = packaging.http.post("/v1/packages/picosam2/returns", json=body | {"to_release": 3}, headers=operator)
    assert (forth.status_code, forth.json()["errors"][0]["message"]) == (422, "release 3 is not older than 2")
    nowhere = packaging.http.post("/v1/packages/other/returns", json=body, headers=operator)
    assert nowhere.status_code == 404
