"""Every error of an app has one shape."""

import httpx
import pytest
from fastapi import FastAPI
from pydantic import Field

from shared.contracts.base import Strict
from shared.contracts.problems import ProblemDetails
from shared.kit import problems
from shared.kit.problems import Conflict, InvalidRequest, Problem, Unavailable, install_problem_handlers, type_of


class NameTaken(Conflict):
    title = "Name already taken"
    hint = "choose another"


class Body(Strict):
    name: str
    size: int = Field(default=1, ge=1, le=9)


@pytest.fixture
def client(serve):
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/things")
    def make(body: Body):
        raise NameTaken("A thing has this name.", name=body.name, status=200, detail="masked")

    @app.get("/away")
    def away():
        raise Unavailable("Not here.", retry_after_s=7)

    @app.get("/defect")
    def defect():
        raise RuntimeError("password=hunter2")

    with httpx.Client(base_url=serve(app).url) as client:
        yield client


def subclasses(of):
    return [of, *(deeper for sub in of.__subclasses__() for deeper in subclasses(sub))]


def test_all_problems_have_a_type_and_a_status_of_their_own_class():
    known = [sub for sub in subclasses(Problem) if sub.__module__.startswith(("shared.", "services.")) and sub is not Problem]
    assert len({type_of(sub) for sub in known}) == len(known)
    assert all(400 <= sub.status < 600 and sub.title and sub.__doc__ for sub in known)


def test_the_type_is_the_class_in_kebab_case():
    assert type_of(NameTaken) == "/problems/name-taken"
    assert type_of(problems.InvalidJson) == "/problems/invalid-json"


def test_a_member_cannot_mask_a_standard_one(client):
    answer = client.post("/things", json={"name": "a"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code == 409
    found = ProblemDetails.model_validate(answer.json())
    assert (found.status, found.detail, found.hint) == (409, "A thing has this name.", "choose another")
    assert (found.type, found.instance) == ("/problems/name-taken", "/things")
    assert found.model_extra["name"] == "a"


def test_wrong_fields_are_named_with_what_would_be_right(client):
    answer = client.post("/things", json={"nmae": "a", "size": 12})
    assert answer.status_code == 422
    errors = {error["field"]: error for error in answer.json()["errors"]}
    assert errors["body.name"]["hint"] == "this field is required"
    assert errors["body.nmae"]["hint"] == "remove this field or correct its spelling"
    assert errors["body.size"]["hint"] == "expected: le 9"


def test_the_value_that_was_sent_is_not_echoed(client):
    assert "hunter2" not in client.post("/things", json={"name": {"password": "hunter2"}}).text


def test_a_defect_tells_nothing_of_the_inside(client):
    answer = client.get("/defect")
    assert answer.status_code == 500
    assert answer.json()["type"] == "/problems/internal-error"
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", "/nowhere", "not-found", 404),
        ("PUT", "/things", "method-not-allowed", 405),
        ("GET", "/away", "unavailable", 503),
    ],
)
def test_other_answers_have_the_same_shape(client, method, path, kind, status):
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{kind}")
    assert answer.headers["content-type"] == "application/problem+json"


def test_headers_go_with_their_problems(client):
    assert client.get("/away").headers["retry-after"] == "7"
    assert client.put("/things").headers["allow"] == "POST"


def test_broken_json_is_a_bad_request_not_a_wrong_field(client):
    answer = client.post("/things", content=b'{"name": ', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-json")


def test_one_field_can_be_refused_by_hand():
    problem = InvalidRequest.of_field("body.train.0.dataset", "there is no dataset 'x'", "see the list")
    wanted = {"field": "body.train.0.dataset", "message": "there is no dataset 'x'", "hint": "see the list"}
    assert problem.members["errors"] == [wanted]
