"""The contenders of the polls benchmark: services of two processes each that are asked the same way, over two ports."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Final

from tests.bench import wrk
from tests.bench.fleet_ours import PROCESSES, Device
from tests.bench.load import Load, Request, Result
from tests.bench.load import run as ask_each
from tests.bench.serving_ours import get, wait_until_answered
from tests.bench.serving_peers import PEERS_HOME, free_port, install, peak_mb, start, stop_group

HOST: Final = "fleet.example"
OPENMV: Final = "openmv"
_PRODUCT: Final = 4711
_BOARD: Final = "OPENMV_N6"
FIRST_S: Final = 120
"""At most, for the first poll of all devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """Requests of a file, each turn those of the next, to ``ports``; ``pids``: the processes behind them."""

    name: str
    ports: Sequence[int]
    files: Iterator[Path]
    pids: Sequence[int]

    def turn(self, concurrency: int, seconds: float) -> Result:
        return wrk.run(next(self.files), self.ports, concurrency=concurrency, seconds=seconds)

    def peak_mb(self) -> float:
        return sum(peak_mb(pid) for pid in self.pids)


def bare_read(database_url: str, devices: Sequence[Device], folder: Path, ending: ExitStack) -> Polled:
    """FastAPI + SQLAlchemy + Postgres, one row by its index, of the very table that ours reads."""
    command = [sys.executable, "-m", "uvicorn", "tests.bench.peers.bare_read:app", "--no-access-log", "--port"]
    path = f"/devices/{devices[0].controller_id}"
    ports, pids = _started("bare-read", command, {"DATABASE_URL": database_url}, folder, ending, path)
    file = folder / "bare-read.lua"
    wrk.write_requests(file, [wrk.get(f"/devices/{device.controller_id}", HOST) for device in devices])
    return Polled(name="FastAPI + SQLAlchemy, one row", ports=ports, files=repeat(file), pids=pids)


def openmv_ota(database_url: str, devices: Sequence[Device], folder: Path, ending: ExitStack) -> Polled | None:
    """openmv-ota's check-in, with devices that its registry knows and its database has seen. None if it cannot be installed.

    As its manual (docs/server.md) has it run, on Postgres; its limit of 60 check-ins a minute is off, its access log stays.
    """
    if not install(OPENMV):
        return None
    registry = free_port()
    stand_in = [sys.executable, "-m", "tests.bench.peers.registry", str(registry)]
    ending.callback(stop_group, start(stand_in, folder / "registry.log", {}))
    environment = {
        "OPENMV_OTA_DATABASE_URL": database_url.replace("postgresql+psycopg", "postgresql"),
        "OPENMV_OTA_SWD_IDS_VERIFY_URL": f"http://127.0.0.1:{registry}/verify",
        "OPENMV_OTA_SWD_IDS_VERIFY_TOKEN": "bench",
        "OPENMV_OTA_CHECKIN_RATE_PER_MIN": "0",
        "OPENMV_OTA_STORAGE_LOCATION": str(folder / "openmv"),
    }
    program = str(PEERS_HOME / OPENMV / "bin" / "openmv-ota")
    subprocess.run([program, "server", "init"], check=True, capture_output=True, env=environment, cwd=folder)
    command = [program, "server", "run", "--host", "127.0.0.1", "--port"]
    ports, pids = _started(OPENMV, command, environment, folder, ending, "/healthz")
    requests = [_check_in(device) for device in devices]
    ask_all(ports, requests, (b'"update":false',))
    file = folder / "openmv.lua"
    wrk.write_requests(file, requests)
    return Polled(name="openmv-ota check-in", ports=ports, files=repeat(file), pids=pids)


def _started(
    name: str, command: Sequence[str], environment: Mapping[str, str], folder: Path, ending: ExitStack, path: str
) -> tuple[list[int], list[int]]:
    """Ports and pids of the processes, once each answers at ``path``; its port is the command's last argument."""
    ports = [free_port() for _ in range(PROCESSES)]
    logs = [folder / f"{name}-{port}.log" for port in ports]
    processes = [start([*command, str(port)], log, environment) for port, log in zip(ports, logs, strict=True)]
    for port, process, log in zip(ports, processes, logs, strict=True):
        ending.callback(stop_group, process)
        wait_until_answered(process, port, get(path), log)
    return ports, [process.pid for process in processes]


def _check_in(device: Device) -> bytes:
    """As a camera of theirs sends it that runs the newest release."""
    body = json.dumps(
        {
            "device_id": device.controller_id,
            "product_id": _PRODUCT,
            "board": _BOARD,
            "product": "bench",
            "app_version": "1.0.0",
            "payload_version": 1,
            "slot": "a",
            "representation": "full",
            "confirmed": True,
        }
    ).encode()
    head = (
        f"POST /api/v1/check HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask_all(ports: Sequence[int], requests: Sequence[bytes], pieces: tuple[bytes, ...]) -> None:
    """Each once at each port, so that what is remembered is remembered. RuntimeError unless all get a 200 with ``pieces``."""
    whole = [Request(request, (pieces,)) for request in requests]
    for port in ports:
        result = ask_each(whole, Load(port=port, concurrency=8, seconds=FIRST_S, count=len(whole)))
        if result.failed:
            raise RuntimeError(f"not all are answered as they should be: {result.failures}")
