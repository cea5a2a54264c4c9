"""Ids, log lines and metrics of requests."""

import httpx
import pytest
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest

from shared.kit.observe import REQUEST_ID, Observed
from shared.kit.problems import NotFound, install_problem_handlers


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def client(serve, registry):
    app = FastAPI()
    install_problem_handlers(app)

    @app.get("/things/{name}")
    def read(name: str):
        if name == "none":
            raise NotFound("None.")
        return {"id": structlog.contextvars.get_contextvars()["request_id"]}

    app.add_middleware(Observed, registry=registry)
    with httpx.Client(base_url=serve(app).url) as client:
        yield client


def test_an_id_is_made_and_told_to_the_route_and_the_caller(client):
    first, second = client.get("/things/a"), client.get("/things/a")
    assert first.json()["id"] == first.headers[REQUEST_ID] != second.headers[REQUEST_ID]


def test_an_id_that_came_along_is_kept_unless_it_is_odd(client):
    assert client.get("/things/a", headers={REQUEST_ID: "abc-1"}).headers[REQUEST_ID] == "abc-1"
    assert client.get("/things/a", headers={REQUEST_ID: "a b\tc" * 50}).headers[REQUEST_ID] != "a b\tc" * 50


def test_a_problem_carries_the_id(client):
    answer = client.get("/things/none", headers={REQUEST_ID: "abc-1"})
    assert answer.json()["request_id"] == "abc-1"


def test_metrics_are_labelled_by_template(client, registry):
    for path in ("/things/a", "/things/b", "/things/none", "/nowhere/1", "/nowhere/2"):
        client.get(path)
    text = generate_latest(registry).decode()
    assert 'picofleet_http_requests_total{method="GET",route="/things/{name}",status="200"} 2.0' in text
    assert 'picofleet_http_requests_total{method="GET",route="/things/{name}",status="404"} 1.0' in text
    assert 'picofleet_http_requests_total{method="GET",route="none",status="404"} 2.0' in text


def test_a_request_leaves_one_line_with_its_outcome(client):
    with structlog.testing.capture_logs() as lines:
        client.get("/things/a")
    (line,) = [line for line in lines if line["event"] == "http.answered"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/things/a", 200)
