"""Talks to the supervisor through its socket."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.embedded.errors import PlatformError
from infra.embedded.home import Home
from infra.embedded.programs import base_environment

CONFIG: Final = Path(__file__).with_name("supervisord.conf")
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What the supervisor knows of a process. ``pid`` is 0 while it does not run; ``state`` is supervisor's word."""

    name: str
    state: str
    pid: int
    up_s: float
    explanation: str


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(os.fsencode(self._path))
        except OSError:
            self.close()
            raise


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> _UnixConnection:
        connection = _UnixConnection(self._path)
        self._connection = host, connection  # what the base class's close() closes
        return connection


class Supervisor:
    """The supervisor of one home."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def pid(self) -> int | None:
        """The supervisor's pid if it answers, else None: a socket or pid file alone proves nothing."""
        try:
            return int(self._call("getPID"))
        except PlatformError:
            return None

    def processes(self) -> list[ProcessState]:
        """All processes in order of priority; PlatformError if the supervisor does not answer."""
        found: list[dict[str, Any]] = self._call("getAllProcessInfo")
        return [
            ProcessState(
                name=info["name"],
                state=info["statename"].lower(),
                pid=info["pid"],
                up_s=float(info["now"] - info["start"]) if info["pid"] else 0.0,
                explanation=info["spawnerr"] or info["description"],
            )
            for info in found
        ]

    def start(self, *, wait_s: float = 15.0) -> int:
        """Start the supervisor, which starts all processes at once; its pid. PlatformError with its words if it ends."""
        self.clear()
        output = self.home.log("supervisord.start")
        environment = base_environment(self.home) | {
            "PICOFLEET_SUPERVISOR_PYTHON": sys.executable,
            "PICOFLEET_SUPERVISOR_RUN": str(self.home.run),
            "PICOFLEET_SUPERVISOR_SOCKET": str(self.home.socket),
        }
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "supervisor.supervisord", "-c", str(CONFIG)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.home.path,
                start_new_session=True,  # Ctrl-C in the terminal is not for the platform
            )
        deadline = time.monotonic() + wait_s
        while self.pid() is None:
            if process.poll() is not None or time.monotonic() > deadline:
                said = " ".join(self.home.log_tail("supervisord.start", 5)) or "it said nothing"
                process.kill()
                process.wait()
                raise PlatformError(f"The supervisor did not start: {said}", hint=f"Its log is {output}.")
            time.sleep(0.05)
        threading.Thread(target=process.wait, daemon=True).start()  # whoever started it has to reap it
        return process.pid

    def stop_program(self, name: str) -> None:
        """Stop one process and leave it stopped."""
        self._call("stopProcess", name)

    def start_program(self, name: str) -> None:
        """Start a stopped process again; does not wait until it works."""
        self._call("startProcess", name, False)

    def shutdown(self) -> None:
        """Ask the supervisor to stop all processes, the last first, and then itself."""
        self._call("shutdown")

    def clear(self) -> None:
        """Remove a socket and a pid file that a crash left behind."""
        self.home.socket.unlink(missing_ok=True)
        (self.home.run / "supervisord.pid").unlink(missing_ok=True)

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.home.socket)) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as exc:
            raise PlatformError(
                f"The supervisor does not answer: {exc}", hint="`picofleet down`, then `picofleet up`."
            ) from exc
