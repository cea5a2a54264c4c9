"""Polls of a thousand cameras: two processes of the fleet service on one Postgres, beside a bare read of one row and beside
openmv-ota's check-in.

All on the same processors, wrk and Postgres too, in turns within each round. Then a rollout beside the polls that it is made
of, and the memory that downloads take. BENCH_SMALL=1: without openmv-ota, and with fewer cameras, in less than 40 s.
"""

import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path

from tests.bench import fleet_peers as peers
from tests.bench import wrk
from tests.bench.fleet_downloads import print_memory
from tests.bench.fleet_ours import NEEDED, Device, Fleet, add_cameras, etag_of, running_cluster
from tests.bench.fleet_peers import HOST, Polled
from tests.bench.fleet_rollout import compare_rollout
from tests.bench.load import Result
from tests.bench.serving_ours import Jobs
from tests.bench.table import Measured, print_goal, print_table, ratio
from tests.conftest import PostgresCluster

SMALL = bool(os.environ.get("BENCH_SMALL"))
ROUNDS = 1 if SMALL else 5
SECONDS = 1.0 if SMALL else 3.0
CONCURRENCY = (8, 64)
CAMERAS = 1000
ROLLOUT_CAMERAS = 300 if SMALL else 10_000
ROLLOUT_POLL_S = 1.0 if SMALL else 20.0
ROLLOUT_S = 60 if SMALL else 1200
"""At most."""
DOWNLOADS = 20

UNCHANGED, MEMORY, DATABASE = "ours, 304 from memory", "ours, 200 from memory", "ours, from the database"
OUTCOMES = {UNCHANGED: "memory_unchanged", MEMORY: "memory", DATABASE: "database"}
"""How the service counts them."""
LEAST = 0.99
"""Share of a contender's polls that must have been answered as its name says."""

Taken = dict[int, dict[str, list[Result]]]
"""Results by concurrency and name, one per round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where the contenders meet."""

    folder: Path
    cluster: PostgresCluster
    jobs: Jobs


def main() -> None:
    if not wrk.is_installed() or not PostgresCluster.is_installed():
        print(f"polls: needs Postgres and wrk: {NEEDED}", flush=True)
        return
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        cluster, jobs = ending.enter_context(running_cluster()), Jobs(Path(name))
        ending.callback(jobs.stop)
        field = Field(folder=Path(name), cluster=cluster, jobs=jobs)
        _compare_polls(field)
        with _fleet(field, "rollout") as fleet:
            devices = add_cameras(fleet.url, ROLLOUT_CAMERAS)
            compare_rollout(fleet, devices, poll_s=ROLLOUT_POLL_S, limit_s=ROLLOUT_S)
        with _fleet(field, "downloads") as fleet:
            print_memory(fleet, add_cameras(fleet.url, DOWNLOADS))


@contextmanager
def _fleet(field: Field, name: str) -> Iterator[Fleet]:
    """On a database of its own."""
    folder = field.folder / name
    folder.mkdir()
    fleet = Fleet(folder, field.cluster.create(name), field.jobs)
    try:
        yield fleet
    finally:
        fleet.stop()


def _compare_polls(field: Field) -> None:
    with ExitStack() as ending:
        fleet = ending.enter_context(_fleet(field, "polls"))
        contenders = _contenders(field, fleet, add_cameras(fleet.url, 2 * CAMERAS), ending)
        taken = _take(contenders, fleet)
        for concurrency, results in taken.items():
            rows = [_row(each, results[each.name]) for each in contenders]
            print_table(f"Polls of {CAMERAS} cameras, {concurrency} at a time, two processes each", "polls/s", rows)
    _print_goals(taken)


def _take(contenders: Sequence[Polled], fleet: Fleet) -> Taken:
    taken: Taken = {concurrency: {each.name: [] for each in contenders} for concurrency in CONCURRENCY}
    for each in contenders:
        each.turn(CONCURRENCY[-1], SECONDS)  # what is remembered is remembered now, and connections are open
    for _ in range(ROUNDS):
        for concurrency in CONCURRENCY:
            for each in contenders:
                taken[concurrency][each.name].append(_checked_turn(each, concurrency, fleet))
    return taken


def _contenders(field: Field, fleet: Fleet, devices: Sequence[Device], ending: ExitStack) -> list[Polled]:
    """All of them, running; the bare read first. openmv-ota is left out where it cannot be installed.

    Half of the devices are remembered; the other half ask each time under another name than the last time. What is remembered
    does not count then, since its links would lead elsewhere.
    """
    devices, others = devices[:CAMERAS], devices[CAMERAS:]
    bare = peers.bare_read(fleet.url, devices, field.folder, ending)
    quiet = [_poll(device, HOST) for device in devices]
    peers.ask_all(fleet.ports, quiet, ())
    etags = [etag_of(fleet.ports[0], device, HOST) for device in devices]
    unchanged = [_poll(device, HOST, If_None_Match=etag) for device, etag in zip(devices, etags, strict=True)]
    files = {
        UNCHANGED: repeat(_written(field.folder / "unchanged.lua", unchanged)),
        MEMORY: repeat(_written(field.folder / "memory.lua", quiet)),
        DATABASE: _renamed(field.folder / "database.lua", others),
    }
    contenders = [bare, *(Polled(name=name, ports=fleet.ports, files=each, pids=fleet.pids) for name, each in files.items())]
    if not SMALL:
        other = peers.openmv_ota(field.cluster.create("openmv"), devices, field.folder, ending)
        contenders += [other] if other else []
    return contenders


def _poll(device: Device, host: str, **headers: str) -> bytes:
    return wrk.get(device.path, host, Authorization=device.authorization, **headers)


def _written(file: Path, requests: Sequence[bytes]) -> Path:
    wrk.write_requests(file, requests)
    return file


def _renamed(file: Path, devices: Sequence[Device]) -> Iterator[Path]:
    """The file once more for each turn, with names that none before has had."""
    for turn in count():
        names = [f"{turn}-{number}.{HOST}" for number in range(2)]
        yield _written(file, [_poll(device, name) for name in names for device in devices])


def _checked_turn(contender: Polled, concurrency: int, fleet: Fleet) -> Result:
    """RuntimeError if our polls were not answered from where the contender's name says."""
    before = fleet.polls()
    result = contender.turn(concurrency, SECONDS)
    if contender.name in OUTCOMES:
        _check_outcomes(contender.name, fleet.polls() - before)
    return result


def _check_outcomes(name: str, answered: Counter[str]) -> None:
    if answered[OUTCOMES[name]] < LEAST * max(1, answered.total()):
        raise RuntimeError(f"polls that should all be {OUTCOMES[name]!r} were answered so: {dict(answered)}")


def _row(contender: Polled, results: Sequence[Result]) -> Measured:
    notes = {
        "p50 ms": f"{_median(results, 'p50_ms'):.1f}",
        "p99 ms": f"{_median(results, 'p99_ms'):.1f}",
        "failed": str(sum(each.failed for each in results)),
        "peak memory": f"{contender.peak_mb():.0f} MB",
    }
    return Measured(name=contender.name, rates=[each.rate for each in results], notes=notes)


def _median(results: Sequence[Result], figure: str) -> float:
    return statistics.median(getattr(each, figure) for each in results)


def _times(taken: Taken, concurrency: int, name: str, other: str) -> float:
    both = (Measured(name=each, rates=[result.rate for result in taken[concurrency][each]]) for each in (name, other))
    return ratio(*both)


def _print_goals(taken: Taken) -> None:
    names = list(taken[CONCURRENCY[0]])
    bare, others = names[0], names[len(OUTCOMES) + 1 :]
    for concurrency in CONCURRENCY:
        for name, least in ((UNCHANGED, 1.0), (MEMORY, 1.0), (DATABASE, 0.6)):
            share = _times(taken, concurrency, name, bare)
            print_goal(
                f"{name}: at least {100 * least:.0f} % of a bare read, {concurrency} at a time",
                f"{100 * share:.0f} %",
                share >= least,
            )
    for other in others:
        for concurrency in CONCURRENCY:
            for name in OUTCOMES:
                times = _times(taken, concurrency, name, other)
                print_goal(f"{name}: at least three times {other}, {concurrency} at a time", f"{times:.1f} times", times >= 3)
    for name in OUTCOMES:
        p99 = _median(taken[8][name], "p99_ms")
        print_goal(f"{name}: p99 below 50 ms, 8 at a time", f"{p99:.1f} ms", p99 < 50)
    failed = sum(each.failed for results in taken.values() for name in OUTCOMES for each in results[name])
    print_goal("no failed poll", str(failed), failed == 0)


if __name__ == "__main__":
    main()
