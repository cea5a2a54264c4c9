"""The fleet service as it is run, for benchmarks: processes of their own on one Postgres, and cameras in its database."""

import hashlib
import http.client
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.orm import Session

from services.fleet.cameras.models import Camera
from services.fleet.migrate import upgrade
from services.fleet.polling.models import Contact
from shared.contracts.base import new_id
from tests.bench.serving_ours import Jobs, get, wait_until_answered
from tests.bench.serving_peers import exchange, free_port, peak_mb, start, stop_group
from tests.conftest import PostgresCluster

PROCESSES: Final = 2
NEEDED: Final = "apt-get install postgresql wrk (as root)"
_POLLS: Final = re.compile(rb'^picofleet_fleet_polls_total\{outcome="(\w+)"\} ([\d.e+]+)$', re.MULTILINE)


@contextmanager
def running_cluster() -> Iterator[PostgresCluster]:
    """A Postgres of our own. RuntimeError where Postgres is not installed."""
    cluster = PostgresCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def connected(url: str) -> Iterator[Engine]:
    """An engine for a few statements of the benchmark's own."""
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A registered camera, and what it shows to be let in."""

    controller_id: str
    token: str

    @property
    def path(self) -> str:
        return f"/default/controller/v1/{self.controller_id}"

    @property
    def authorization(self) -> str:
        return f"TargetToken {self.token}"


def add_cameras(url: str, count: int) -> list[Device]:
    """Registered cameras that have told their attributes and have nothing to do."""
    devices = [Device(controller_id=f"camera-{number:05}", token=f"token-of-{number:032}") for number in range(count)]
    cameras = [_row_of(device) for device in devices]
    with connected(url) as engine, Session(engine) as session, session.begin():
        session.execute(insert(Camera), cameras)
        session.execute(insert(Contact), [{"camera_id": camera["id"]} for camera in cameras])
    return devices


def _row_of(device: Device) -> dict[str, object]:
    hashed = hashlib.sha256(device.token.encode()).hexdigest()
    given = {"controller_id": device.controller_id, "token_hash": hashed, "labels": {}, "attributes": {}}
    return {"id": new_id(), "format": "package", "attributes_wanted": False, "registered_by": "bench", **given}


class Fleet:
    """``python -m services.fleet``, ``PROCESSES`` times on one database."""

    def __init__(self, folder: Path, database_url: str, jobs: Jobs, **settings: str) -> None:
        """``settings``: further ones, by name in lower case. The database is migrated here."""
        upgrade(database_url)
        self.url, self.folder, self.ports = database_url, folder, [free_port() for _ in range(PROCESSES)]
        self._key = jobs.key
        common = {
            "DATABASE_URL": database_url,
            "BLOB_URL": str(self.blobs),
            "JOBS_URL": f"http://127.0.0.1:{jobs.port}",
            "API_KEY": jobs.key,
            **{name.upper(): value for name, value in settings.items()},
        }
        self._processes = []
        for port in self.ports:
            environment = {f"PICOFLEET_FLEET_{name}": value for name, value in {**common, "PORT": str(port)}.items()}
            log = folder / f"fleet-{port}.log"
            self._processes.append(start([sys.executable, "-m", "services.fleet"], log, environment))
        for port, process in zip(self.ports, self._processes, strict=True):
            wait_until_answered(process, port, get("/readyz"), folder / f"fleet-{port}.log")

    @property
    def blobs(self) -> Path:
        """Where it keeps packages."""
        return self.folder / "fleet-blobs"

    @property
    def pids(self) -> Sequence[int]:
        return [process.pid for process in self._processes]

    def stop(self) -> None:
        for process in self._processes:
            stop_group(process)

    def peak_mb(self) -> float:
        return sum(peak_mb(pid) for pid in self.pids)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Of an operator."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close", f"Authorization: Bearer {self._key}"]
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"] if body else []
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    def polls(self) -> Counter[str]:
        """Polls answered so far, by outcome."""
        counted: Counter[str] = Counter()
        for port in self.ports:
            _, told = exchange(port, self.request("GET", "/metrics"))
            counted.update({outcome.decode(): int(float(count)) for outcome, count in _POLLS.findall(told)})
        return counted


def etag_of(port: int, device: Device, host: str) -> str:
    """Of the answer to a device's poll. RuntimeError unless it is let in."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", device.path, headers={"Host": host, "Authorization": device.authorization})
        answer = connection.getresponse()
        body, etag = answer.read(), answer.getheader("ETag")
    if answer.status != 200 or etag is None:
        raise RuntimeError(f"{device.controller_id} is answered {answer.status}: {body[:500]!r}")
    return etag
