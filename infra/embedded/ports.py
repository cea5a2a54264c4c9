"""Choosing ports: the usual one if it is free, else the next free one; never the same for two platforms that start at once."""

import fcntl
import json
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from infra.embedded.errors import PlatformError
from infra.embedded.home import runtime_folder

DEFAULTS: Final[Mapping[str, int]] = {
    "mlflow": 5000,
    "redis": 6379,
    "jobs": 8001,
    "inference": 8002,
    "inference-grpc": 8003,
    "fleet": 8004,
}
STEP: Final = 10
"""Leaves room for the ports of all services (8001 to 8005)."""
TRIES: Final = 200
RESERVED_S: Final = 120.0
"""How long a chosen port is kept for a platform that has not bound it yet."""
LOOPBACK: Final = "127.0.0.1"


def is_free(port: int) -> bool:
    """True if nobody listens on the port and it can be bound on the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        if probe.connect_ex((LOOPBACK, port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ports in TIME_WAIT are free
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def choose(owner: str, last: Mapping[str, int], defaults: Mapping[str, int] = DEFAULTS) -> dict[str, int]:
    """A free port per name for the platform ``owner``: the one it had last, else the default, else the next free one.

    The choice is reserved for RESERVED_S against other platforms of this user that start at the same time.
    """
    register = runtime_folder() / "ports.json"
    with (runtime_folder() / "ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reserved = _reservations(register)
        taken = {int(port) for port, held in reserved.items() if held["owner"] != owner}
        chosen: dict[str, int] = {}
        for name, default in defaults.items():
            chosen[name] = _first_free(_candidates(last.get(name), default), taken | set(chosen.values()), name)
        now = time.time()
        mine = {str(port): {"owner": owner, "until": now + RESERVED_S} for port in chosen.values()}
        register.write_text(json.dumps(reserved | mine))
    return chosen


def _candidates(last: int | None, default: int) -> Iterable[int]:
    if last is not None:
        yield last
    yield from (port for port in range(default, default + TRIES * STEP, STEP) if port < 65_536)


def _first_free(candidates: Iterable[int], taken: set[int], name: str) -> int:
    for port in candidates:
        if port not in taken and is_free(port):
            return port
    raise PlatformError(f"No free port for {name} on {LOOPBACK}.", hint="Stop what you do not need, or look with `ss -ltn`.")


def _reservations(register: Path) -> dict[str, dict[str, str | float]]:
    try:
        found = json.loads(register.read_text())
        return {port: held for port, held in found.items() if held["until"] > time.time()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}  # unreadable reservations only cost their protection for two minutes
