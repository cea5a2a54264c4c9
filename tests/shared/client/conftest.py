"""A scripted HTTP server for what goes wrong on the wire, and the real jobs service for what goes right."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import structlog

from services.jobs.app import create_app
from services.jobs.migrate import upgrade
from services.jobs.settings import JobsSettings
from shared.client.sdk import PicofleetClient

Handler = Callable[[BaseHTTPRequestHandler], None]


class Script:
    """Answers each request by the next handler (the last one repeats) and keeps what was asked."""

    def __init__(self) -> None:
        self.handlers: list[Handler] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        script = self

        class Answer(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                number = len(script.requests)
                script.requests.append((self.command, self.path, dict(self.headers), body))
                script.handlers[min(number, len(script.handlers) - 1)](self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _do

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def asked(self) -> list[tuple[str, str, dict[str, str]]]:
        """Method, path and headers (names in lower case) of each request so far."""
        return [
            (method, path, {key.lower(): value for key, value in headers.items()}) for method, path, headers, _ in self.requests
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.close()


def _answer(
    status: int = 200, body: bytes | str = b"", kind: str = "application/json", cut: int | None = None, **headers: str
) -> Handler:
    """A handler. ``cut``: the connection ends after so many bytes, though the header promises all."""
    content = body.encode() if isinstance(body, str) else body

    def handle(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            request.close_connection = True

    return handle


@pytest.fixture
def answer() -> Callable[..., Handler]:
    """Makes handlers: ``answer(200, "{}", ETag='"a"')``."""
    return _answer


@pytest.fixture(autouse=True)
def _no_ambient_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    urls = ("PICOFLEET_URL", "PICOFLEET_INFERENCE_URL", "PICOFLEET_FLEET_URL")
    for name in (*urls, "PICOFLEET_API_KEY", "KEEP", "PICOFLEET_TRACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PICOFLEET_HOME", str(tmp_path_factory.mktemp("no-platform")))


@pytest.fixture
def quiet_service() -> Iterator[None]:
    """The service runs in this process: its log lines must not get between those of the command line."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.reset_defaults()


@pytest.fixture
def service(quiet_service: None, tmp_path: Path, databases: Any, redis_url: str, serve: Callable[..., Any]) -> Any:
    """The real jobs service without workers; has ``url``, ``app`` and, in ``key``, an admin's key."""
    url = databases.create()
    upgrade(url)
    key_file = tmp_path / "admin.key"
    (tmp_path / "data").mkdir()
    settings = JobsSettings(
        database_url=url,
        redis_url=redis_url,
        mlflow_url="http://127.0.0.1:9",  # the discard port: nobody is there
        blob_url=str(tmp_path / "blobs"),
        dataset_roots=[str(tmp_path / "data")],
        admin_key_file=key_file,
        package_key=str(tmp_path / "packages.pem"),
        run_loops=False,
    )
    served = serve(create_app(settings))
    served.key = key_file.read_text().strip()
    return served


@pytest.fixture
def fleet(service: Any) -> Iterator[PicofleetClient]:
    with PicofleetClient(service.url, service.key) as client:
        yield client
