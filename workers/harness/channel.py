"""The line between the supervising process and a job's processes: JSON lines over a Unix socket.

A socket in a private folder instead of an inherited descriptor, because torchrun starts its ranks with all descriptors closed.
"""

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict

from shared.contracts.worker import Claim

CHANNEL_VARIABLE: Final = "PICOFLEET_CHANNEL"
Message = dict[str, Any]


class Assignment(BaseModel):
    """All that a child needs to know about its job. Travels over the socket, so that no key shows in an environment."""

    model_config = ConfigDict(frozen=True)

    claim: Claim
    jobs_url: str
    api_key: str
    mlflow_url: str
    folder: Path
    cache_root: Path
    cache_limit_bytes: int
    memory_limit_bytes: int | None = None
    environment: dict[str, str]


class Link:
    """One end of the line. ``send`` may be called from any thread, ``receive`` from one."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lines = connection.makefile("rb")
        self._sending = threading.Lock()

    @classmethod
    def connect(cls, path: str) -> Self:
        """Join the supervisor that listens at ``path``."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(path)
        return cls(connection)

    def send(self, kind: str, **content: Any) -> bool:
        """Send one message; False if nobody is there any more."""
        line = json.dumps({"kind": kind, **content}).encode() + b"\n"
        try:
            with self._sending:
                self._socket.sendall(line)
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """The next message, or None once the other end is gone."""
        try:
            line = self._lines.readline()
        except OSError:
            return None
        if not line.endswith(b"\n"):  # cut off by a kill
            return None
        message: Message = json.loads(line)
        return message

    def hang_up(self) -> None:
        """End the line, from any thread: ``receive`` then gives None."""
        with contextlib.suppress(OSError):  # the other end was faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Free it; for the thread that receives."""
        self._lines.close()
        self._socket.close()


class Switchboard:
    """Listens for the processes of one job and hands each new link to ``on_link`` in a thread of its own."""

    def __init__(self, on_link: Callable[[Link], None]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="picofleet-"))  # mode 700: nobody else can join
        self.path = str(self.folder / "s")
        self._on_link = on_link
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        threading.Thread(target=self._accept, name="switchboard", daemon=True).start()

    def close(self) -> None:
        """Take no further links."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._on_link, args=(Link(connection),), name="link", daemon=True).start()
