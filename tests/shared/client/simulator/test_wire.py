"""HTTP as the simulated cameras speak it, against a scripted server."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from shared.client.simulator.wire import Wire, WireError

Answer = Callable[..., Any]
T = TypeVar("T")


def with_wire(url: str, work: Callable[[Wire], Awaitable[T]], **options: Any) -> T:
    async def run() -> T:
        wire = Wire(url, **({"timeout_s": 5.0} | options))
        try:
            return await work(wire)
        finally:
            await wire.close()

    return asyncio.run(run())


def raw(content: bytes) -> Callable[[Any], None]:
    """A handler that answers with these bytes and hangs up."""

    def handle(request: Any) -> None:
        request.wfile.write(content)
        request.close_connection = True

    return handle


def test_a_request_carries_what_it_is_given(script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, b"{}", ETag='"a"')]
    reply = with_wire(script.url, lambda wire: wire.request("POST", "/a%2Fb?c=1", b"Authorization: x\r\n", b"[1]"))
    assert (reply.status, reply.headers[b"etag"], reply.body) == (200, b'"a"', b"{}")
    method, path, headers, body = script.requests[0]
    assert (method, path, headers["Authorization"], body) == ("POST", "/a%2Fb?c=1", "x", b"[1]")


def test_links_of_another_host_lead_to_the_service_that_was_named(script: Any, answer: Answer) -> None:
    script.handlers = [answer(200, b"")]
    with_wire(script.url, lambda wire: wire.request("GET", "https://elsewhere.example/default/x%20y?a=b"))
    assert script.requests[0][1] == "/default/x%20y?a=b"


def test_connections_are_kept(script: Any, answer: Answer) -> None:
    ports: set[int] = set()

    def handle(request: Any) -> None:
        ports.add(request.client_address[1])
        answer(200, b"{}")(request)

    script.handlers = [handle]

    async def many(wire: Wire) -> None:
        for _ in range(5):
            await wire.request("GET", "/")

    with_wire(script.url, many)
    assert len(ports) == 1


def test_one_that_was_closed_meanwhile_is_opened_anew(script: Any, answer: Answer) -> None:
    def hang_up(request: Any) -> None:
        request.close_connection = True

    script.handlers = [answer(200, b"1"), hang_up, answer(200, b"2")]

    async def twice(wire: Wire) -> bytes:
        await wire.request("GET", "/")
        return (await wire.request("GET", "/")).body

    assert with_wire(script.url, twice) == b"2"


def test_bodies_in_chunks_are_put_together(script: Any) -> None:
    script.handlers = [
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n")
    ]
    assert with_wire(script.url, lambda wire: wire.request("GET", "/")).body == b"abcde"


def test_a_sink_takes_downloads_but_not_refusals(script: Any, answer: Answer) -> None:
    taken: list[bytes] = []
    content = bytes(range(256)) * 1000
    script.handlers = [answer(200, content), answer(404, b"{}")]

    async def both(wire: Wire) -> bytes:
        assert (await wire.request("GET", "/", sink=taken.append)).body == b""
        return (await wire.request("GET", "/", sink=taken.append)).body

    assert with_wire(script.url, both) == b"{}"
    assert b"".join(taken) == content
    assert max(map(len, taken)) <= 1 << 16


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_answers_without_a_body_wait_for_none(script: Any, method: str, status: int) -> None:
    script.handlers = [raw(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)]
    assert with_wire(script.url, lambda wire: wire.request(method, "/")).body == b""


BROKEN = [
    b"",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
    b"SSH-2.0-OpenSSH\r\n\r\n",
    b"HTTP/1.1\r\n\r\n",
    b"\x00" * 200_000,
]


@pytest.mark.parametrize("content", BROKEN)
def test_what_is_no_answer_is_an_error_and_no_hang(script: Any, content: bytes) -> None:
    script.handlers = [raw(content)]
    with pytest.raises(WireError):
        with_wire(script.url, lambda wire: wire.request("GET", "/"))


def test_an_answer_that_never_comes_is_given_up(script: Any) -> None:
    import time

    script.handlers = [lambda _: time.sleep(1)]
    with pytest.raises(WireError, match=r"within 0\.2 s"):
        with_wire(script.url, lambda wire: wire.request("GET", "/"), timeout_s=0.2)


def test_no_more_connections_than_allowed_are_open_at_once(script: Any, answer: Answer) -> None:
    import threading
    import time

    open_now, most, lock = 0, 0, threading.Lock()

    def handle(request: Any) -> None:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        time.sleep(0.02)
        with lock:
            open_now -= 1
        answer(200, b"")(request)

    script.handlers = [handle]

    async def many(wire: Wire) -> None:
        await asyncio.gather(*(wire.request("GET", "/") for _ in range(12)))

    with_wire(script.url, many, connections=3)
    assert most <= 3
    assert len(script.requests) == 12
