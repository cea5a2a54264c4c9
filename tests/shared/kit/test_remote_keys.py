"""Keys that another service owns, at the door of async routes."""

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from shared.contracts.base import new_id
from shared.contracts.keys import KeyOut, Scope
from shared.kit.auth import new_secret
from shared.kit.problems import install_problem_handlers
from shared.kit.remote_keys import RemoteKeys, requires_at_once

SECRETS = {scope: new_secret() for scope in (Scope.VIEWER, Scope.WORKER)}


@pytest.fixture
def asked():
    """Keys that their owner was asked about."""
    return []


@pytest.fixture
def owner(serve, asked):
    """The service that knows the keys."""
    app = FastAPI()

    @app.get("/v1/keys/self")
    def known(request: Request):
        secret = request.headers["authorization"].removeprefix("Bearer ")
        asked.append(secret)
        for scope, each in SECRETS.items():
            if each == secret:
                return key_of(scope)
        return Response(status_code=401)

    return serve(app)


def key_of(scope):
    return KeyOut(id=new_id(), name=f"a-{scope}", scope=scope, created_at="2026-01-01T00:00:00Z")


@pytest.fixture
def client(owner, serve):
    keys = RemoteKeys(owner.url)
    app = FastAPI()
    install_problem_handlers(app)
    app.state.authenticate, app.state.keys = keys.authenticate, keys

    @app.get("/", dependencies=[requires_at_once(Scope.VIEWER)])
    async def route(request: Request):
        return {"name": request.state.actor.name}

    with httpx.Client(base_url=serve(app).url) as client:
        yield client
    keys.close()


def get(client, secret):
    return client.get("/", headers={"Authorization": f"Bearer {secret}"})


def test_a_key_is_asked_about_once_and_then_remembered(client, asked):
    answers = [get(client, SECRETS[Scope.VIEWER]).json() for _ in range(3)]
    assert answers == [{"name": "a-viewer"}] * 3
    assert asked == [SECRETS[Scope.VIEWER]]


def test_strangers_and_those_without_a_key_are_refused_each_time(client, asked):
    stranger = new_secret()
    assert [get(client, stranger).status_code for _ in range(3)] == [401] * 3
    assert asked == [stranger]
    assert get(client, "pf_short").status_code == client.get("/").status_code == 401


def test_a_key_of_another_scope_is_forbidden_whether_it_is_new_or_remembered(client):
    assert [get(client, SECRETS[Scope.WORKER]).status_code for _ in range(2)] == [403, 403]
