"""Keys over HTTP."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from services.jobs.keys.models import ApiKey
from shared.contracts.keys import Scope


def make(client, headers, name="ada", scope="viewer", **more):
    return client.post("/v1/keys", json={"name": name, "scope": scope} | more, headers=headers)


def bearer(answer):
    return {"Authorization": f"Bearer {answer.json()['secret']}"}


def test_a_new_key_works_and_shows_its_secret_once(client, admin, session):
    made = make(client, admin)
    assert made.status_code == 201
    secret = made.json()["secret"]
    assert len(secret) == 46
    assert client.get("/v1/keys/self", headers=bearer(made)).json()["name"] == "ada"
    assert secret not in client.get("/v1/keys", headers=admin).text
    row = session.scalars(select(ApiKey).where(ApiKey.name == "ada")).one()
    assert secret not in str(vars(row))


def test_a_revoked_key_is_dead_at_once_and_for_good(client, admin):
    made = make(client, admin)
    path = f"/v1/keys/{made.json()['id']}"
    assert client.delete(path, headers=admin).status_code == 204
    assert client.get("/v1/keys/self", headers=bearer(made)).status_code == 401
    first = client.get(path, headers=admin).json()["revoked_at"]
    assert client.delete(path, headers=admin).status_code == 204
    assert client.get(path, headers=admin).json()["revoked_at"] == first


def test_an_expired_key_is_dead(client, admin, session):
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = make(client, admin, expires_at=soon.isoformat())
    assert client.get("/v1/keys/self", headers=bearer(made)).status_code == 200
    session.scalars(select(ApiKey).where(ApiKey.name == "ada")).one().expires_at = datetime.now(UTC) - timedelta(seconds=1)
    session.commit()
    assert client.get("/v1/keys/self", headers=bearer(made)).status_code == 401


@pytest.mark.parametrize("when", ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00+05:00"])
def test_a_key_that_would_be_dead_at_birth_is_refused(client, admin, when):
    assert make(client, admin, expires_at=when).json()["type"] == "/problems/key-expires-in-the-past"


@pytest.mark.parametrize(
    "wrong", [{"name": "Ada"}, {"name": ""}, {"scope": "root"}, {"expires_at": "2099-01-01T00:00:00"}, {"secret": "x"}]
)
def test_wrong_fields_are_refused(client, admin, wrong):
    answer = make(client, admin, **{"name": "ada", "scope": "viewer"} | wrong)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == f"body.{next(iter(wrong))}"


def test_a_name_is_taken_until_its_key_is_revoked(client, admin):
    made = make(client, admin)
    assert make(client, admin).json()["type"] == "/problems/key-name-taken"
    client.delete(f"/v1/keys/{made.json()['id']}", headers=admin)
    assert make(client, admin).status_code == 201


def test_of_two_who_take_a_name_at_once_one_gets_it(client, admin):
    barrier = threading.Barrier(6)

    def race(_):
        barrier.wait()
        return make(client, admin).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(race, range(6))) == [201] + [409] * 5


def test_the_last_admin_key_cannot_be_revoked(client, admin):
    me = client.get("/v1/keys/self", headers=admin).json()["id"]
    make(client, admin)
    refused = client.delete(f"/v1/keys/{me}", headers=admin)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/last-admin-key")
    make(client, admin, name="second", scope="admin")
    assert client.delete(f"/v1/keys/{me}", headers=admin).status_code == 204


def test_two_admins_who_revoke_each_other_do_not_both_succeed(client, key_for):
    ada, bob = key_for(Scope.ADMIN, name="ada"), key_for(Scope.ADMIN, name="bob")
    ids = [client.get("/v1/keys/self", headers=headers).json()["id"] for headers in (ada, bob)]
    barrier = threading.Barrier(2)

    def revoke(headers, key_id):
        barrier.wait()
        return client.delete(f"/v1/keys/{key_id}", headers=headers).status_code

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(revoke, (ada, bob), reversed(ids)))
    assert statuses in ([204, 401], [204, 409])


def test_an_unknown_key_is_not_found(client, admin):
    assert client.get("/v1/keys/nope", headers=admin).json()["type"] == "/problems/key-not-found"
    assert client.delete("/v1/keys/nope", headers=admin).status_code == 404


def test_keys_are_listed_in_pages(client, admin):
    for name in ("a1", "a2", "a3"):
        make(client, admin, name=name)
    first = client.get("/v1/keys", params={"limit": 2}, headers=admin).json()
    second = client.get("/v1/keys", params={"limit": 2, "cursor": first["next_cursor"]}, headers=admin).json()
    assert [key["name"] for key in first["items"] + second["items"]] == ["a3", "a2", "a1", "a-admin"]
    assert second["next_cursor"] is None


def test_a_repeated_creation_makes_no_second_key_and_keeps_no_secret(client, admin):
    headers = admin | {"Idempotency-Key": "k"}
    secret = make(client, headers).json()["secret"]
    again = make(client, headers)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/secret-already-shown")
    assert secret not in again.text


def test_the_use_of_a_key_is_noted(client, app, viewer, admin):
    client.get("/v1/keys/self", headers=viewer)
    app.state.keyring.write_uses()
    used = client.get("/v1/keys/self", headers=viewer).json()["last_used_at"]
    assert abs(datetime.fromisoformat(used) - datetime.now(UTC)) < timedelta(seconds=30)
