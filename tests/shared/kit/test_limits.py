"""Bodies are refused before a route sees them."""

import asyncio
import json

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from shared.kit.limits import RequestLimits, check_json
from shared.kit.problems import InvalidJson, install_problem_handlers

JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.fixture
def client(serve):
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/echo")
    def echo(body: dict):
        return body

    @app.post("/raw")
    async def raw(request: Request):
        return {"size": sum([len(chunk) async for chunk in request.stream()])}

    @app.post("/large")
    async def large(request: Request):
        return {"size": len(await request.body())}

    @app.get("/find")
    def find(q: str):
        return {"q": q}

    app.add_middleware(RequestLimits, max_bytes=1000, by_prefix={"/large": 5000}, streamed={"/raw": 3000})
    with httpx.Client(base_url=serve(app).url) as client:
        yield client


def chunked(size):
    yield from (b"x" * 500 for _ in range(size // 500))


def test_a_good_body_passes_unchanged(client):
    body = {"a": [1, 2.5, None, True, "ä\u2028"], "b": {"c": []}}
    assert client.post("/echo", json=body).json() == body


def test_a_declared_length_beyond_the_limit_is_refused_unread(client):
    answer = client.post("/echo", content=b"[" + b" " * 1000 + b"]", headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/payload-too-large")
    assert answer.json()["max_bytes"] == 1000


@pytest.mark.parametrize(("path", "limit"), [("/echo", 1000), ("/raw", 3000), ("/large", 5000)])
@pytest.mark.parametrize("headers", [JSON, {"Content-Type": "application/octet-stream"}])
def test_a_body_without_a_declared_length_is_counted(client, path, limit, headers):
    answer = client.post(path, content=chunked(limit + 500), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/payload-too-large")


def test_paths_have_limits_of_their_own(client):
    assert client.post("/raw", content=chunked(3000)).json() == {"size": 3000}
    assert client.post("/large", content=chunked(5000)).json() == {"size": 5000}


def test_a_streamed_path_takes_json_as_bytes(client):
    assert client.post("/raw", content=b"[NaN", headers=JSON).json() == {"size": 4}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": "\xff"}',
        b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"a": ' + b"[" * 400 + b"]" * 400 + b"}",
        b'{"a": 1',
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_not_json_is_refused(client, body):
    answer = client.post("/echo", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/invalid-json")


@pytest.mark.parametrize("declared", ["-1", "1_0", "999999999999999999999999", "9" * 5000])
def test_a_mad_length_is_refused(declared):
    # No HTTP client of ours would send it, so the middleware is called by hand.
    sent = []

    async def send(message):
        sent.append(message)

    async def never(*called):
        raise AssertionError("the request was passed on")

    scope = {"type": "http", "path": "/x", "method": "POST", "headers": [(b"content-length", declared.encode())]}
    asyncio.run(RequestLimits(never, max_bytes=1000)(scope, never, send))
    assert sent[0]["status"] == 413


@pytest.mark.parametrize("target", ["/find?q=a%00b", "/fi%00nd"])
def test_a_nul_in_the_url_is_refused(client, target):
    answer = client.get(target)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-request")


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
)


@given(
    st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner, max_size=4)
        ),
        max_leaves=20,
    )
)
def test_all_json_passes(document):
    check_json(json.dumps(document).encode())


@given(st.binary(max_size=60))
def test_any_bytes_pass_or_are_refused_and_what_passes_is_json(body):
    try:
        check_json(body)
    except InvalidJson:
        return
    if body:
        json.loads(body)
