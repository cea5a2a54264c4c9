"""The page's HTTP server: the standard library's, a thread per connection, and server-sent events in place of WebSockets,
since everything flows one way.

The document itself holds nothing of the camera's and is given to anybody who gets as far as the port. What the camera sees asks
for the token, in a header: no other page can send that from a browser, and it stands in no log and no history.
"""

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from socketserver import TCPServer
from typing import Any, Final

from services.camera.errors import SettingsWrong
from services.camera.page.document import CONTENT_SECURITY_POLICY, DOCUMENT
from services.camera.page.feed import Feed, TooManyWatch
from services.camera.settings import CameraSettings
from services.camera.telling import Status
from shared.kit.logging import get_logger

log = get_logger(__name__)

MOST_CONNECTIONS: Final = 16
BEAT_S: Final = 2.0
"""Without a frame, the camera's state is told so often; that also finds out who went away."""
TIMEOUT_S: Final = 10.0
"""For a request to come, and for a browser to take what is sent."""
_PARTING_S: Final = 5.0


class Page:
    """``start`` once, then ``stop``. What goes wrong with it is logged, and the camera goes on."""

    def __init__(self, settings: CameraSettings, status: Callable[[], Status]) -> None:
        assert settings.page_port is not None, "looked at before"
        self._host, self._port, self._token = settings.page_host, settings.page_port, settings.page_secret
        self.feed = Feed(status, frames_per_s=settings.page_frames_per_s)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens; None: it does not."""
        return self._server.server_address[:2] if self._server else None  # type: ignore[return-value]

    def start(self) -> None:
        """Listen."""
        try:
            self._server = _Server(self._host, self._port, self.feed, self._token)
        except OSError as exc:
            log.error("page.not_started", host=self._host, port=self._port, error=str(exc))
            return
        self._thread = threading.Thread(target=self._server.serve, name="page", daemon=True)
        self._thread.start()
        local = ip_address(self._host).is_loopback
        (log.info if local else log.warning)("page.started", host=self._host, port=self._server.server_address[1], local=local)

    def stop(self) -> None:
        """Hang up."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.stop()
            self._thread.join(_PARTING_S)
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, feed: Feed, token: Callable[[], str]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.feed, self.token = feed, token
        self.stopping = threading.Event()
        self._room = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """HTTPServer's would look the host's name up, which takes long without a network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def serve(self) -> None:
        """Until ``stop``. Sleeps until somebody comes; ``serve_forever`` would look for an end twice a second."""
        while not self.stopping.is_set():
            self.handle_request()

    def stop(self) -> None:
        """Wakes ``serve`` and those who watch, within a beat."""
        self.stopping.set()
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, if there are not too many."""
        if self.stopping.is_set() or not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """That thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody hung up in the middle, mostly."""
        del request
        log.debug("page.connection_failed", client=str(client_address), exc_info=True)

    def lets_in(self, header: str) -> bool:
        """Whether an Authorization header holds the token; how long this takes says nothing of how much of it was right."""
        try:
            wanted = self.token()
        except SettingsWrong as exc:
            log.warning("page.no_token", error=str(exc))
            return False
        scheme, _, given = header.partition(" ")
        is_it = hmac.compare_digest(_digest(given.strip()), _digest(wanted))
        return is_it and scheme.lower() == "bearer"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "picofleet-camera", ""
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """The document, or the events."""
        path = self.path.partition("?")[0]
        if path == "/":
            self._answer(200, DOCUMENT, "text/html; charset=utf-8")
        elif path != "/events":
            self._refuse(404, "there is / and /events")
        elif not self.server.lets_in(self.headers.get("authorization", "")):
            self._refuse(401, "send `Authorization: Bearer <the page's token>`")
        else:
            self._stream()

    def log_message(self, format: str, *args: Any) -> None:
        """Not on stderr."""
        log.debug("page.request", line=format % args)

    def _stream(self) -> None:
        feed, number, wait_s = self.server.feed, 0, 0.0
        try:
            with feed.watching():
                self._head(200, "text/event-stream")
                while not self.server.stopping.is_set():
                    shown, wait_s = feed.after(number, wait_s), BEAT_S
                    number = shown.number if shown is not None else number
                    self.wfile.write(b"data: " + feed.message(shown) + b"\n\n")
        except TooManyWatch:
            self._refuse(503, "too many watch already: close another page of this camera")
        except OSError as exc:  # gone, or too slow
            log.debug("page.watcher_gone", error=str(exc))

    def _refuse(self, status: int, detail: str) -> None:
        body = json.dumps({"status": status, "detail": detail}).encode()
        self._answer(status, body, "application/problem+json")

    def _answer(self, status: int, body: bytes, kind: str) -> None:
        self._head(status, kind, length=len(body))
        self.wfile.write(body)

    def _head(self, status: int, kind: str, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer realm="picofleet camera"')
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()


def _digest(text: str) -> bytes:
    # Of equal length, whatever was sent: compare_digest does not hide lengths.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
