"""Keys at the door of any app."""

import httpx
import pytest
from fastapi import FastAPI, Request

from shared.contracts.keys import Scope
from shared.kit.auth import Actor, AnyActor, hash_secret, is_secret, new_secret, require, requires
from shared.kit.problems import install_problem_handlers

KEYS = {new_secret(): Actor(key_id=f"k-{scope}", name=f"a {scope}", scope=scope) for scope in Scope}
BY_SCOPE = {actor.scope: secret for secret, actor in KEYS.items()}


@pytest.fixture
def asked():
    """Secrets that reached the database."""
    return []


@pytest.fixture
def client(asked, serve):
    app = FastAPI()
    install_problem_handlers(app)

    def authenticate(secret):
        asked.append(secret)
        return KEYS.get(secret)

    app.state.authenticate = authenticate

    @app.get("/any")
    def any_key(actor: AnyActor, request: Request):
        return {"name": actor.name, "bound": request.state.actor.key_id}

    for scope in Scope:
        app.get(f"/{scope}", dependencies=[requires(scope)])(lambda: {})
    app.get("/either", dependencies=[requires(Scope.OPERATOR, Scope.WORKER)])(lambda: {})
    with httpx.Client(base_url=serve(app).url) as client:
        yield client


def get(client, path, secret):
    return client.get(path, headers={"Authorization": f"Bearer {secret}"})


def test_a_secret_is_256_random_bits_and_is_stored_hashed():
    secret = new_secret()
    assert is_secret(secret)
    assert len(secret) == 46
    assert len(hash_secret(secret)) == 64
    assert secret not in hash_secret(secret)
    assert len({new_secret() for _ in range(100)}) == 100


def test_a_good_key_gives_its_actor(client):
    answer = get(client, "/any", BY_SCOPE[Scope.VIEWER])
    assert answer.json() == {"name": "a viewer", "bound": "k-viewer"}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic cGY6cGY=", "pf_x", "Bearer pf_x", "Bearer " + "x" * 46])
def test_without_a_good_key_the_door_is_shut(client, asked, header):
    answer = client.get("/any", headers={"Authorization": header} if header is not None else {})
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert asked == []


def test_an_unknown_key_is_refused_with_the_same_words_as_a_revoked_one(client):
    answer = get(client, "/any", new_secret())
    assert (answer.status_code, answer.json()["detail"]) == (401, "The key is unknown, revoked or expired.")


@pytest.mark.parametrize("needed", list(Scope))
@pytest.mark.parametrize("held", list(Scope))
def test_scopes_allow_what_they_include_and_nothing_else(client, held, needed):
    order = [Scope.VIEWER, Scope.OPERATOR, Scope.ADMIN]
    allowed = held is Scope.ADMIN or held is needed or (held in order and needed in order[: order.index(held)])
    answer = get(client, f"/{needed}", BY_SCOPE[held])
    assert answer.status_code == (200 if allowed else 403)
    if not allowed:
        assert str(needed) in answer.json()["hint"]


@pytest.mark.parametrize(("held", "status"), [("operator", 200), ("worker", 200), ("viewer", 403)])
def test_one_of_several_scopes_is_enough(client, held, status):
    assert get(client, "/either", BY_SCOPE[Scope(held)]).status_code == status


def test_the_route_says_in_openapi_that_it_needs_a_key(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert paths["/viewer"]["get"]["security"]
    assert require(Scope.VIEWER) is not require(Scope.VIEWER)
