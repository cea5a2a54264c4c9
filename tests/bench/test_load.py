"""The load generator against real servers on a socket: what it sends, counts and calls a failure."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.bench.load import Load, Request, quantile, run, run_apart, write_requests

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[bytes] = []
        self.peers: set[tuple[str, int]] = set()
        bodies, peers = self.bodies, self.peers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                bodies.append(body)
                peers.add(self.client_address)
                answer(self, body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture
def serving() -> Iterator[Callable[[Answer], Server]]:
    running: list[Server] = []

    def start(answer: Answer) -> Server:
        running.append(Server(answer))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def say(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def echo(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    say(handler, body)


def post(body: bytes, *answers: tuple[bytes, ...]) -> Request:
    return Request(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body, answers)


def test_a_number_of_requests_is_sent_in_turn_over_as_many_connections_as_asked_for(serving):
    server = serving(echo)
    result = run([post(b"one"), post(b"two")], Load(port=server.port, concurrency=3, seconds=20, count=11))
    assert sorted(server.bodies) == [b"one"] * 6 + [b"two"] * 5
    assert len(server.peers) == 3
    assert (result.requests, result.failed) == (11, 0)


def test_an_answer_without_the_wanted_pieces_is_a_failure_and_is_told(serving):
    server = serving(echo)
    either = ((b"version 1", b"mask A"), (b"version 2", b"mask B"))
    requests = [post(b"version 1, mask A", *either), post(b"version 2, mask B", *either), post(b"version 1, mask B", *either)]
    result = run(requests, Load(port=server.port, concurrency=1, seconds=20, count=6))
    assert result.failed == 2
    assert result.failures == ["200: b'version 1, mask B'"] * 2


def test_other_statuses_and_lost_connections_are_failures_and_the_load_goes_on(serving):
    said: list[int] = []

    def now_and_then(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        said.append(0)
        if len(said) == 2:
            handler.close_connection = True  # without a word
        else:
            say(handler, body, 503 if len(said) == 4 else 200)

    result = run([post(b"x")], Load(port=serving(now_and_then).port, concurrency=1, seconds=20, count=6))
    assert result.failed == 2
    assert len(said) == 6
    assert any("connection lost" in why for why in result.failures)
    assert any(why.startswith("503") for why in result.failures)


def test_nobody_there_is_a_failure_not_a_hang(free_port_number):
    result = run([post(b"x")], Load(port=free_port_number, concurrency=2, seconds=0.2))
    assert result.requests == 0
    assert result.failed > 2
    assert "no connection" in result.failures[0]


def test_chunks_and_pieces_of_answers_are_put_together(serving):
    def in_pieces(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (b"5\r\nfirst\r\n", b"6\r\nsec", b"ond\r\n", b"0\r\n\r", b"\n"):
            handler.wfile.write(piece)
            time.sleep(0.01)

    result = run([post(b"x", (b"first", b"second"))], Load(port=serving(in_pieces).port, concurrency=1, seconds=20, count=3))
    assert (result.requests, result.failed) == (3, 0)


def test_an_answer_that_closes_is_followed_by_a_new_connection(serving):
    def goodbye(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.close_connection = True
        say(handler, body, Connection="close")

    server = serving(goodbye)
    result = run([post(b"x")], Load(port=server.port, concurrency=1, seconds=20, count=4))
    assert (result.requests, result.failed, len(server.peers)) == (4, 0, 4)


def test_latency_and_throughput_are_those_of_the_time_after_the_warm_up(serving):
    begun = time.perf_counter()

    def slow_at_first(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        time.sleep(0.2 if time.perf_counter() - begun < 0.3 else 0.02)
        say(handler, body)

    result = run([post(b"x")], Load(port=serving(slow_at_first).port, concurrency=2, seconds=0.8, warm_up_s=0.6))
    assert 20 <= result.p50_ms <= result.p99_ms < 150
    assert result.rate == pytest.approx(result.requests / 0.8)
    assert 20 < result.rate < 101


def test_values_of_a_pattern_are_counted(serving):
    requests = [post(json.dumps({"model": f"net/{number}"}).encode()) for number in (1, 1, 1, 2)]
    load = Load(port=serving(echo).port, concurrency=1, seconds=20, count=20, pattern=r'"model": ?"([^"]+)"')
    assert run(requests, load).seen == {"net/1": 15, "net/2": 5}


def test_a_process_apart_does_the_same(serving, tmp_path):
    server = serving(echo)
    write_requests(tmp_path / "requests", [post(b"\x00\xff binary", (b"binary",)), post(b"other", (b"else",))])
    result = run_apart(tmp_path / "requests", Load(port=server.port, concurrency=1, seconds=20, count=4))
    assert server.bodies == [b"\x00\xff binary", b"other"] * 2
    assert (result.requests, result.failed) == (4, 2)


def test_a_request_costs_the_generator_far_less_than_the_services_that_it_measures(free_port_number):
    class Blunt(asyncio.Protocol):
        """Answers whatever comes: each request fits one segment."""

        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):  # noqa: ARG002
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Blunt, "127.0.0.1", free_port_number)
        ready.set()
        async with server:
            await asyncio.sleep(60)

    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    assert ready.wait(10)
    before = time.thread_time()
    result = run([post(b"x" * 1000)], Load(port=free_port_number, concurrency=8, seconds=20, count=4000))
    assert result.failed == 0
    assert (time.thread_time() - before) / 4000 < 0.0001


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_quantile_is_a_value_that_was_measured(share, expected):
    assert quantile(range(1, 101), share) == expected
    assert quantile([7.0], share) == 7.0
