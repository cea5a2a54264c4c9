"""Does each process do its work? A running pid alone says little."""

import json
import socket
import urllib.error
import urllib.request
from typing import Any

from infra.embedded.ports import LOOPBACK
from infra.embedded.programs import Setup
from infra.embedded.secrets import secret_in

TIMEOUT_S = 3.0
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy to the loopback interface


def trouble(program: str, setup: Setup) -> str | None:
    """None if ``program`` is well, else what is missing."""
    checks = {
        "redis": _redis,
        "mlflow": _mlflow,
        "jobs": _jobs,
        "inference": _inference,
        "fleet": _fleet,
        "worker": _worker,
    }
    try:
        return checks[program](setup)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        return _words(exc)


def _redis(setup: Setup) -> str | None:
    password = secret_in(setup.home.redis_password, prefix="")
    with socket.create_connection((LOOPBACK, setup.ports["redis"]), TIMEOUT_S) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2:
            piece = connection.recv(256)
            if not piece:
                return "closed the connection"
            answer += piece
    return None if answer.split(b"\r\n")[:2] == [b"+OK", b"+PONG"] else answer.decode(errors="replace").strip()


def _mlflow(setup: Setup) -> str | None:
    with _DIRECT.open(f"{setup.mlflow_url}/health", timeout=TIMEOUT_S):
        return None


def _jobs(setup: Setup) -> str | None:
    # Live, not ready: readiness includes MLflow and Redis, which have rows of their own.
    with _DIRECT.open(f"{setup.jobs_url}/healthz", timeout=TIMEOUT_S):
        return None


def _inference(setup: Setup) -> str | None:
    # Live, not ready: it serves what it has, also while the jobs service is away.
    with _DIRECT.open(f"{setup.inference_url}/healthz", timeout=TIMEOUT_S):
        return None


def _fleet(setup: Setup) -> str | None:
    # Live, not ready: cameras are answered also while the jobs service is away.
    with _DIRECT.open(f"{setup.fleet_url}/healthz", timeout=TIMEOUT_S):
        return None


def _worker(setup: Setup) -> str | None:
    key = secret_in(setup.home.admin_key)
    request = urllib.request.Request(f"{setup.jobs_url}/v1/workers", headers={"Authorization": f"Bearer {key}"})
    with _DIRECT.open(request, timeout=TIMEOUT_S) as answer:
        found: Any = json.load(answer)
    workers = found["items"] if isinstance(found, dict) else found
    if any(worker["worker"] == setup.worker_name and worker["alive"] for worker in workers):
        return None
    return "has not reported to the jobs service yet"


def _words(exc: Exception) -> str:
    if isinstance(exc, urllib.error.HTTPError):
        return f"answers {exc.code}"
    reason = getattr(exc, "reason", exc)
    if isinstance(reason, ConnectionRefusedError):
        return "does not listen yet"
    if isinstance(reason, TimeoutError):
        return "does not answer in time"
    return str(reason) or type(exc).__name__
