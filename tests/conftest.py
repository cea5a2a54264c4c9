"""Fixtures for all: a real MLflow server, one per test process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

MLFLOW_START_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MlflowProcess:
    """An `mlflow server` of our own on SQLite: it can be killed and started again on the same port and files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = [
            "--backend-store-uri",
            f"sqlite:///{self.folder}/mlflow.db",
            "--artifacts-destination",
            f"{self.folder}/artifacts",
        ]
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        # Without the first, the server starts eight helper processes of 200 MB each that outlive it.
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "mlflow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *options, *address],
                stdout=log,
                stderr=log,
                env=os.environ | quiet,
                start_new_session=True,
            )

    def wait(self) -> None:
        give_up = time.monotonic() + MLFLOW_START_S
        while time.monotonic() < give_up:
            if self._process is None or self._process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/health", timeout=2).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.2)
        raise RuntimeError(f"mlflow server did not start: {(self.folder / 'mlflow.log').read_text()[-2000:]}")

    def kill(self) -> None:
        """SIGKILL to the server and its children: no goodbye to anyone."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real MLflow server on SQLite. Shared: use names of your own for experiments and models."""
    server = MlflowProcess(tmp_path_factory.mktemp("mlflow"))
    server.start()
    try:
        server.wait()
        yield server.url
    finally:
        server.kill()


@pytest.fixture
def new_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], MlflowProcess]]:
    """Makes MLflow servers that a test may kill; not started yet."""
    made: list[MlflowProcess] = []

    def make() -> MlflowProcess:
        made.append(MlflowProcess(tmp_path_factory.mktemp("mlflow")))
        return made[-1]

    yield make
    for server in made:
        server.kill()
