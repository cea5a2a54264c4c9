"""Provisioning tokens."""

import hashlib

from services.fleet.cameras.models import Camera, ProvisioningToken


def test_the_secret_is_shown_once_and_only_its_hash_is_kept(as_admin):
    made = as_admin.post("provisioning-tokens", {"name": "factory", "labels": {"batch": "7"}, "max_cameras": 10}).json()
    (listed,) = as_admin.get("provisioning-tokens").json()["items"]
    assert listed == {key: value for key, value in made.items() if key != "token"}
    assert (listed["cameras"], listed["created_by"], listed["revoked_at"]) == (0, "a-admin", None)
    with as_admin.services.sessions() as session:
        row = session.get_one(ProvisioningToken, made["id"])
    assert row.token_hash == hashlib.sha256(made["token"].encode()).hexdigest()
    assert all(made["token"] not in str(event.detail) for event in as_admin.events())


def test_a_revoked_token_stays_revoked_and_its_cameras_are_asked_anew(as_admin):
    made = as_admin.post("provisioning-tokens", {"name": "factory"}).json()
    camera = as_admin.register("a")
    with as_admin.services.sessions.begin() as session:
        session.get_one(Camera, camera["id"]).provisioned_by = made["id"]
    before = as_admin.epoch(camera)
    assert [as_admin.delete(f"provisioning-tokens/{made['id']}").status_code for _ in range(2)] == [204, 204]
    (listed,) = as_admin.get("provisioning-tokens").json()["items"]
    assert listed["revoked_at"] is not None
    assert as_admin.epoch(camera) == before + 1
    told = [(event.type, event.actor) for event in as_admin.events() if event.type.startswith("provisioning")]
    assert told == [("provisioning_token.created", "a-admin"), ("provisioning_token.revoked", "a-admin")]


def test_what_cannot_be_is_refused(as_admin):
    as_admin.post("provisioning-tokens", {"name": "factory"})
    taken = as_admin.post("provisioning-tokens", {"name": "factory"})
    assert (taken.status_code, taken.json()["type"]) == (409, "/problems/provisioning-token-name-taken")
    for fields in (
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "9999-12-31T23:59:59-14:00"},
        {"expires_at": "2090-01-01T00:00:00"},
        {"max_cameras": 0},
        {"max_cameras": 2**40},
        {"name": "Not A Name"},
    ):
        answer = as_admin.post("provisioning-tokens", {"name": "other"} | fields)
        assert answer.status_code == 422, (fields, answer.text)
    assert as_admin.delete("provisioning-tokens/nobody").json()["type"] == "/problems/provisioning-token-not-found"


def test_they_are_the_admins_alone(fleet):
    for method, place in (("GET", ""), ("POST", ""), ("DELETE", "/x")):
        path = f"/v1/fleet/provisioning-tokens{place}"
        assert fleet.http.request(method, path, json={"name": "a"}, headers=fleet.user).status_code == 403
