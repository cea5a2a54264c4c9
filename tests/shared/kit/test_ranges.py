"""Ranges of downloads as RFC 9110 has them."""

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from shared.kit.problems import RangeNotSatisfiable, install_problem_handlers
from shared.kit.ranges import parse_range, serve_ranges

CONTENT = bytes(range(100))


@pytest.fixture
def client(serve):
    app = FastAPI()
    install_problem_handlers(app)

    @app.api_route("/file", methods=["GET", "HEAD"])
    def file(request: Request):
        return serve_ranges(request, etag="v1", size_bytes=100, read=lambda a, b: iter([CONTENT[a:b]]), filename="f.bin")

    with httpx.Client(base_url=serve(app).url) as client:
        yield client


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=95-400", (95, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-400", (0, 100)),
        ("bytes=9-3", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("lines=1-2", None),
        ("bytes=" + "9" * 40 + "-", None),
        ("bytes=\u0661-\u0662", None),
    ],
)
def test_ranges_are_read_or_ignored(header, span):
    assert parse_range(header, 100) == span


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_outside_is_refused(header):
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


@given(st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 500))
def test_a_span_lies_inside(header, size):
    try:
        span = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size


def test_the_whole(client):
    answer = client.get("/file")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["etag"] == '"v1"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == 'attachment; filename="f.bin"'


def test_an_odd_name_cannot_leave_its_header():
    request = Request({"type": "http", "method": "HEAD", "headers": []})
    odd = 'ä"\r\nSet-Cookie: a=b'
    answer = serve_ranges(request, etag="v1", size_bytes=1, read=lambda *_: iter([]), filename=odd)
    assert answer.headers["content-disposition"] == 'attachment; filename="____Set-Cookie__a_b"'


def test_a_part(client):
    answer = client.get("/file", headers={"Range": "bytes=10-19"})
    assert (answer.status_code, answer.content) == (206, CONTENT[10:20])
    assert answer.headers["content-range"] == "bytes 10-19/100"


def test_outside_tells_the_size(client):
    answer = client.get("/file", headers={"Range": "bytes=500-"})
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */100")


def test_head_tells_the_size_without_the_bytes(client):
    answer = client.head("/file")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "100", b"")


def test_a_resumed_download_of_something_else_starts_anew(client):
    resumed = {"Range": "bytes=10-19", "If-Range": '"v0"'}
    assert client.get("/file", headers=resumed).content == CONTENT
    assert client.get("/file", headers=resumed | {"If-Range": '"v1"'}).status_code == 206


def test_who_has_it_gets_nothing(client):
    answer = client.get("/file", headers={"If-None-Match": '"v1"'})
    assert (answer.status_code, answer.content) == (304, b"")
