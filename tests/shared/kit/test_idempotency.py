"""Idempotency-Key on a real app and database, races included."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from shared.contracts.base import Lenient, Strict
from shared.contracts.keys import Scope
from shared.kit.auth import Actor, OperatorActor, hash_secret, new_secret
from shared.kit.database import Base, make_engine, make_sessions
from shared.kit.idempotency import KEPT, REPLAYED, OnceDep, StoredAnswer, forget_old_answers
from shared.kit.problems import Conflict, install_problem_handlers

ADA, BOB = new_secret(), new_secret()
ACTORS = {secret: Actor(key_id=hash_secret(secret)[:36], name="x", scope=Scope.OPERATOR) for secret in (ADA, BOB)}


class Body(Strict):
    name: str
    size: int = 1


class Made(Lenient):
    number: int
    name: str


@pytest.fixture
def sessions(empty_database):
    engine = make_engine(empty_database)
    Base.metadata.tables["idempotency_answers"].create(engine)
    yield make_sessions(engine)
    engine.dispose()


@pytest.fixture
def made():
    """Names in the order in which things were made."""
    return []


@pytest.fixture
def client(sessions, made, serve):
    app = FastAPI()
    install_problem_handlers(app)
    app.state.sessions, app.state.authenticate = sessions, ACTORS.get

    def make(name):
        if name == "refused":
            raise Conflict("No.")
        made.append(name)
        return Made(number=len(made), name=name)

    @app.post("/things")
    @app.post("/others")
    def create(body: Body, actor: OperatorActor, once: OnceDep):
        return once.answer(body, lambda: make(body.name))

    @app.post("/secrets")
    def secret(body: Body, actor: OperatorActor, once: OnceDep):
        return once.answer_secretly(body, lambda: make(body.name), already=Conflict)

    with httpx.Client(base_url=serve(app).url, headers=headers(ADA)) as client:
        yield client


def headers(secret, key=None):
    return {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": key} if key else {})


def post(client, name, key, secret=ADA, path="/things", **more):
    return client.post(path, json={"name": name} | more, headers=headers(secret, key))


def test_the_same_request_again_gets_the_first_answer(client, made):
    first, second = post(client, "a", "k"), post(client, "a", "k", size=1)
    assert (first.status_code, first.content) == (second.status_code, second.content) == (201, b'{"number":1,"name":"a"}')
    assert (REPLAYED in first.headers, second.headers[REPLAYED]) == (False, "true")
    assert made == ["a"]


def test_another_body_under_the_same_key_is_a_conflict(client, made):
    post(client, "a", "k")
    answer = post(client, "b", "k")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/idempotency-conflict")
    assert made == ["a"]


def test_without_a_key_every_request_counts(client, made):
    post(client, "a", None)
    post(client, "a", None)
    assert made == ["a", "a"]


def test_keys_belong_to_their_holder_and_route(client, made):
    post(client, "a", "k")
    post(client, "b", "k", secret=BOB)
    post(client, "c", "k", path="/others")
    assert made == ["a", "b", "c"]


def test_a_refused_request_leaves_the_key_unused(client, made):
    assert post(client, "refused", "k").status_code == 409
    assert post(client, "a", "k").status_code == 201


def test_after_a_day_the_key_is_new(client, made, sessions):
    post(client, "a", "k")
    with sessions.begin() as session:
        older = StoredAnswer.created_at
        row = session.scalars(select(StoredAnswer)).one()
        session.execute(update(StoredAnswer).values({older: row.created_at - KEPT - timedelta(seconds=1)}))
    assert post(client, "b", "k").status_code == 201
    assert made == ["a", "b"]


def test_old_answers_are_forgotten(client, sessions):
    post(client, "a", "k")
    post(client, "a", "young")
    with sessions.begin() as session:
        row = session.scalars(select(StoredAnswer).limit(1)).one()
        row.created_at -= KEPT + timedelta(seconds=1)
        session.flush()
        assert forget_old_answers(session) == 1
        assert session.scalar(select(func.count()).select_from(StoredAnswer)) == 1


@pytest.mark.parametrize("key", ["x" * 256, ""])
def test_a_key_has_a_length(client, key):
    assert client.post("/things", json={"name": "a"}, headers={"Idempotency-Key": key}).status_code == 422


def test_a_secret_is_neither_stored_nor_shown_twice(client, sessions):
    assert post(client, "hunter2", "k", path="/secrets").json()["name"] == "hunter2"
    assert post(client, "hunter2", "k", path="/secrets").status_code == 409
    with sessions() as session:
        assert session.scalars(select(StoredAnswer.answer)).all() == ["{}"]


def test_of_many_equal_requests_at_once_one_runs(client, made):
    barrier = threading.Barrier(8)

    def race(_):
        barrier.wait()
        return post(client, "a", "k")

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(race, range(8)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, b'{"number":1,"name":"a"}')}
    assert made == ["a"]


def test_of_different_requests_at_once_under_one_key_one_wins(client, made):
    barrier = threading.Barrier(6)

    def race(number):
        barrier.wait()
        return post(client, f"n{number}", "k").status_code

    with ThreadPoolExecutor(6) as pool:
        statuses = sorted(pool.map(race, range(6)))
    assert statuses == [201] + [409] * 5
    assert len(made) == 1
