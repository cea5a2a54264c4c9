"""wrk as the benchmarks run it, against real servers on sockets: what it sends, to whom, and what it calls a failure."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.bench import wrk
from tests.bench.load import Result

pytestmark = pytest.mark.skipif(not wrk.is_installed(), reason="Debian's package wrk is not installed")


class Server(ThreadingHTTPServer):
    """Counts what is asked by path and the header X-Name; answers with ``status``."""

    daemon_threads = True

    def __init__(self, status: int) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                asked[self.path, self.headers["X-Name"]] += 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    running: list[Server] = []

    def start(status: int = 200) -> Server:
        running.append(Server(status))
        threading.Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()
        return running[-1]

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def run(folder: Path, requests: list[bytes], *servers: Server) -> Result:
    file = folder / "requests.lua"
    wrk.write_requests(file, requests)
    return wrk.run(file, [server.port for server in servers], concurrency=2 * len(servers), seconds=1)


def test_all_servers_are_asked_all_requests(tmp_path: Path, serving: Callable[..., Server]) -> None:
    servers = [serving(), serving()]
    result = run(tmp_path, [wrk.get(f"/{number}", "host", X_Name=f"n{number}") for number in range(5)], *servers)
    for server in servers:
        assert set(server.asked) == {(f"/{number}", f"n{number}") for number in range(5)}
        assert max(server.asked.values()) - min(server.asked.values()) <= 2
    assert 0 < result.requests <= sum(server.asked.total() for server in servers)
    assert result.failed == 0
    assert result.rate == pytest.approx(result.requests, rel=0.5)
    assert 0 < result.p50_ms <= result.p99_ms


def test_requests_are_sent_as_they_are(tmp_path: Path, serving: Callable[..., Server]) -> None:
    server = serving()
    run(tmp_path, [wrk.get("/a%2Fb?c=%22", "host", X_Name='"\\1 [[é]]')], server)
    ((path, name),) = server.asked
    assert (path, name.encode("latin-1").decode()) == ("/a%2Fb?c=%22", '"\\1 [[é]]')


@pytest.mark.parametrize(("status", "fails"), [(304, False), (404, True), (503, True)])
def test_answers_above_399_are_failures(tmp_path: Path, serving: Callable[..., Server], status: int, fails: bool) -> None:
    result = run(tmp_path, [wrk.get("/", "host")], serving(status))
    assert result.requests > 0
    assert result.failed == (result.requests if fails else 0)
    assert bool(result.failures) is fails


def test_a_server_that_is_not_there_is_a_failure(tmp_path: Path, free_port_number: int) -> None:
    file = tmp_path / "requests.lua"
    wrk.write_requests(file, [wrk.get("/", "host")])
    with pytest.raises(RuntimeError, match="wrk failed"):
        wrk.run(file, [free_port_number], concurrency=2, seconds=1)
