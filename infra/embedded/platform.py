"""Starting, watching and stopping the embedded platform."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from infra.embedded import health, members, ports
from infra.embedded.control import ProcessState, Supervisor
from infra.embedded.errors import PlatformError, ProgramFailed
from infra.embedded.home import Home
from infra.embedded.programs import PROGRAMS, Setup, write_plan
from infra.embedded.secrets import secret_in, write_private

START_LIMIT_S: Final = 180.0
"""MLflow alone took 27 s on two quiet cores; a busy machine gets its time."""
STOP_LIMIT_S: Final = 45.0
POLL_S: Final = 0.4
STARTS_UNTIL_GIVEN_UP: Final = 3


@dataclass(frozen=True, slots=True)
class ProgramStatus:
    """One row of `picofleet status`. ``trouble`` is None for a process that works."""

    name: str
    state: str
    pid: int
    up_s: float
    url: str | None
    trouble: str | None
    log: Path


@dataclass(frozen=True, slots=True)
class Status:
    """The platform as it is now. ``supervisor_pid`` is None if it is down."""

    home: Path
    supervisor_pid: int | None
    programs: list[ProgramStatus] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    dataset_roots: list[Path] = field(default_factory=list)

    @property
    def is_up(self) -> bool:
        """True if every process works."""
        return self.supervisor_pid is not None and all(program.trouble is None for program in self.programs)


@dataclass(frozen=True, slots=True)
class Up:
    """A platform that works. ``started`` is False if it did already."""

    home: Home
    jobs_url: str
    inference_url: str
    inference_grpc: str
    fleet_url: str
    mlflow_url: str
    dataset_roots: list[Path]
    started: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Down:
    """What was stopped: pids, and those of them that had to be ended by hand."""

    stopped: list[int]
    forced: list[int]


Watcher = Callable[[list[ProgramStatus]], None]


def up(
    home: Home, *, dataset_roots: Sequence[Path] = (), on_state: Watcher | None = None, limit_s: float = START_LIMIT_S
) -> Up:
    """Bring the platform up and wait until all of it works. Harmless if it is up.

    Left-overs of a crash (socket, pid file, processes without a supervisor) are cleared away first. PlatformError, and
    nothing left running, if a process does not come up.
    """
    begun = time.monotonic()
    with home.locked():
        supervisor = Supervisor(home)
        started = supervisor.pid() is None
        setup = _new_setup(home, dataset_roots) if started else _running_setup(home)
        try:
            if started:
                _clear_orphans(home)
                write_plan(setup)
                supervisor.start()
            _wait_until_well(setup, supervisor, on_state, limit_s)
        except BaseException:
            if started:
                _stop(home)
            raise
        _write_platform(setup)
    seconds = time.monotonic() - begun
    return Up(
        home=home,
        jobs_url=setup.jobs_url,
        inference_url=setup.inference_url,
        inference_grpc=setup.inference_grpc,
        fleet_url=setup.fleet_url,
        mlflow_url=setup.mlflow_url,
        dataset_roots=list(setup.dataset_roots),
        started=started,
        seconds=seconds,
    )


def down(home: Home) -> Down:
    """Stop every process of the platform, children of jobs too; PlatformError if one survives. Harmless if it is down."""
    with home.locked():
        return _stop(home)


def status(home: Home) -> Status:
    """How the platform is doing."""
    supervisor = Supervisor(home)
    pid = supervisor.pid()
    if pid is None:
        return Status(home.path, None, orphans=[process.pid for process in members.members(home)])
    setup = _running_setup(home)
    rows = _rows(setup, supervisor.processes())
    return Status(home.path, pid, rows, dataset_roots=list(setup.dataset_roots))


def _new_setup(home: Home, dataset_roots: Sequence[Path]) -> Setup:
    for path, prefix in (
        (home.admin_key, "pf_"),
        (home.worker_key, "pf_"),
        (home.service_key, "pf_"),
        (home.fleet_key, "pf_"),
        (home.redis_password, ""),
    ):
        secret_in(path, prefix=prefix)
    last = _read(home.path / "ports.json")
    chosen = ports.choose(str(home.path), {name: port for name, port in last.items() if isinstance(port, int)})
    write_private(home.path / "ports.json", json.dumps(chosen))
    roots = list(dict.fromkeys([home.datasets, *(root.expanduser().resolve() for root in dataset_roots)]))
    setup = Setup(home=home, ports=chosen, dataset_roots=roots)
    write_private(home.run / "setup.json", json.dumps({"ports": chosen, "dataset_roots": [str(root) for root in roots]}))
    return setup


def _running_setup(home: Home) -> Setup:
    found = _read(home.run / "setup.json")
    if not found:
        raise PlatformError(f"{home.run / 'setup.json'} is missing.", hint="`picofleet down`, then `picofleet up`.")
    if not ports.DEFAULTS.keys() <= found["ports"].keys():
        raise PlatformError(
            "The platform that runs was started by another version of Picofleet.", hint="`picofleet down`, then `picofleet up`."
        )
    return Setup(home=home, ports=found["ports"], dataset_roots=[Path(root) for root in found["dataset_roots"]])


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _clear_orphans(home: Home) -> None:
    left = members.end(members.members(home))
    if left:
        pids = ", ".join(str(process.pid) for process in left)
        raise PlatformError(f"Processes of an earlier platform cannot be ended: {pids}.", hint="End them by hand.")


def _wait_until_well(setup: Setup, supervisor: Supervisor, on_state: Watcher | None, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    pids: dict[str, set[int]] = {name: set() for name in PROGRAMS}
    while True:
        rows = _rows(setup, supervisor.processes())
        if on_state is not None:
            on_state(rows)
        if all(row.trouble is None for row in rows):
            return
        for row in rows:
            pids[row.name] |= {row.pid} - {0}
            if row.state == "fatal" or len(pids[row.name]) >= STARTS_UNTIL_GIVEN_UP:
                raise _failed(setup.home, row, "ends again and again")
        if time.monotonic() > deadline:
            missing = next(row for row in rows if row.trouble is not None)
            raise _failed(setup.home, missing, f"was not ready after {limit_s:.0f} s: {missing.trouble}")
        time.sleep(POLL_S)


def _failed(home: Home, row: ProgramStatus, what: str) -> ProgramFailed:
    return ProgramFailed(
        f"{row.name} {what}.", program=row.name, log_tail=home.log_tail(row.name), hint=f"Its whole log is {row.log}."
    )


def _rows(setup: Setup, states: list[ProcessState]) -> list[ProgramStatus]:
    urls = {
        "jobs": setup.jobs_url,
        "inference": setup.inference_url,
        "fleet": setup.fleet_url,
        "mlflow": setup.mlflow_url,
    }
    with ThreadPoolExecutor(len(PROGRAMS)) as pool:  # one slow check must not hold up the others
        troubles = dict(zip(PROGRAMS, pool.map(lambda name: health.trouble(name, setup), PROGRAMS), strict=True))
    by_name = {state.name: state for state in states}
    rows = []
    for name in PROGRAMS:
        state = by_name[name]
        trouble = troubles[name] if state.pid else state.explanation or state.state
        rows.append(ProgramStatus(name, state.state, state.pid, state.up_s, urls.get(name), trouble, setup.home.log(name)))
    return rows


def _write_platform(setup: Setup) -> None:
    home = setup.home
    description = {
        "home": str(home.path),
        "jobs_url": setup.jobs_url,
        "inference_url": setup.inference_url,
        "inference_grpc": setup.inference_grpc,
        "fleet_url": setup.fleet_url,
        "mlflow_url": setup.mlflow_url,
        "admin_key_file": str(home.admin_key),
        "logs": str(home.logs),
        "dataset_roots": [str(root) for root in setup.dataset_roots],
    }
    write_private(home.platform, json.dumps(description, indent=2) + "\n")


def _stop(home: Home) -> Down:
    supervisor = Supervisor(home)
    found = members.members(home)
    if supervisor.pid() is not None:
        supervisor.shutdown()
        deadline = time.monotonic() + STOP_LIMIT_S
        while supervisor.pid() is not None and time.monotonic() < deadline:
            time.sleep(0.1)
        _wait_gone(found, 2.0)
    left = members.members(home)  # anew: a job may have started a child meanwhile
    survivors = members.end(left)
    if survivors:
        raise PlatformError(
            f"Processes cannot be ended: {', '.join(str(process.pid) for process in survivors)}.", hint="End them by hand."
        )
    supervisor.clear()
    for path in (home.platform, home.run / "setup.json", home.plan, home.run / "redis.conf"):
        path.unlink(missing_ok=True)
    stopped = sorted({process.pid for process in [*found, *left]})
    return Down(stopped, sorted(process.pid for process in left))


def _wait_gone(processes: list[Any], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while members.alive(processes) and time.monotonic() < deadline:
        time.sleep(0.05)
