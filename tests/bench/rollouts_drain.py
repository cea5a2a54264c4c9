"""One rollout to many cameras, for `bench_rollouts`: prints its figures as JSON.

Apart from the benchmark, which imports torch for its tables: the memory that is printed is that of a service.
"""

import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import event, insert, select, text

from services.fleet.actions.models import Action
from services.fleet.actions.moves import move_all
from services.fleet.app import build_services
from services.fleet.cameras.models import Camera
from services.fleet.migrate import upgrade
from services.fleet.packages.models import Package
from services.fleet.rollouts import engine, service
from services.fleet.rollouts.models import Rollout
from services.fleet.runtime import Services
from services.fleet.settings import FleetSettings
from shared.contracts.base import new_id
from shared.contracts.keys import Scope
from shared.contracts.rollouts import ActionState, RolloutIn
from shared.kit.auth import Actor

PLAYED = 1_000
"""Actions that devices report on in one transaction."""

PHASES = [{"percent": share, "soak_s": 0} for share in (1, 10, 50, 100)]


class Timed:
    """Durations of the engine's transactions in milliseconds."""

    def __init__(self, services: Services) -> None:
        self.taken: list[float] = []
        self.counting = False
        self._begun = threading.local()
        event.listen(services.engine, "begin", self._begin)
        event.listen(services.engine, "commit", self._end)
        event.listen(services.engine, "rollback", self._end)

    def _begin(self, _: object) -> None:
        self._begun.at = time.perf_counter()

    def _end(self, _: object) -> None:
        if self.counting:
            self.taken.append((time.perf_counter() - self._begun.at) * 1000)

    @contextmanager
    def on(self) -> Iterator[None]:
        self.counting = True
        yield
        self.counting = False


def _run(url: str, size: int) -> dict[str, float]:
    upgrade(url)
    with tempfile.TemporaryDirectory() as folder:
        settings = FleetSettings(database_url=url, blob_url=folder, jobs_url="http://127.0.0.1:9", tick_s=1)
        services = build_services(settings, CollectorRegistry(), lambda _: None, threading.Event())
        rollout = _prepare(services, size)
        timed, begun, engine_s = Timed(services), time.perf_counter(), 0.0
        while _is_running(services, rollout):
            ticked = time.perf_counter()
            with timed.on():
                engine.tick(services)
            engine_s += time.perf_counter() - ticked
            _play(services)
        seconds = time.perf_counter() - begun
        services.engine.dispose()
    return {
        "cameras": size,
        "s": seconds,
        "engine_s": engine_s,
        "transactions": len(timed.taken),
        "longest_ms": max(timed.taken),
        "mb": _peak_mb(),
    }


def _peak_mb() -> float:
    """Of this program: what getrusage says of a process includes the one that started it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _prepare(services: Services, size: int) -> str:
    common = {"format": "package", "labels": {}, "attributes": {}, "registered_by": "bench"}
    with services.sessions.begin() as session:
        package = Package(kind="model", name="picosam2", version="1", release=1, imported_by="bench")
        session.add(package)
    for start in range(0, size, PLAYED):
        rows = [
            {"id": new_id(), "controller_id": f"cam-{number}"} | common for number in range(start, min(start + PLAYED, size))
        ]
        with services.sessions.begin() as session:
            session.execute(insert(Camera), rows)
    with services.sessions.begin() as session:
        session.execute(text("ANALYZE"))  # as autovacuum would have done
    rate = {"per_minute": 1_000_000}
    body = RolloutIn.model_validate(
        {"name": "bench", "package": "picosam2/1", "selector": "", "phases": PHASES, "rate": rate, "start": True}
    )
    actor = Actor(key_id="bench", name="bench", scope=Scope.OPERATOR)
    with services.sessions.begin() as session:
        return service.make(session, body, actor=actor).id


def _is_running(services: Services, rollout_id: str) -> bool:
    with services.sessions.begin() as session:
        return bool(session.get_one(Rollout, rollout_id).state == "running")


def _play(services: Services) -> None:
    """All devices that were let in report that they have been offered the package, and that they run it."""
    while True:
        with services.sessions.begin() as session:
            ids = session.scalars(select(Action.id).where(Action.active).limit(PLAYED)).all()
            move_all(session, ids, ActionState.OFFERED)
            move_all(session, ids, ActionState.RUNNING)
        if len(ids) < PLAYED:
            return


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], int(sys.argv[2]))))
