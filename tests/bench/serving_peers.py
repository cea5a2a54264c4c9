"""The contenders of the serving benchmark: each a process (tree) of its own that gets the same network and the same task."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from tests.bench.load import ROOT, Load, Request, Result, quantile, run_apart, write_requests
from tests.bench.serving_tasks import Task, as_form, as_json, requests_of

THREADS = len(os.sched_getaffinity(0))
START_S = 120
PEERS_HOME = ROOT / ".picofleet" / "bench"
COMMON = ("onnxruntime==1.31.1", "pillow==13.0.0", "numpy==2.4.6")
PEERS = {
    "litserve": ("litserve==0.2.19", *COMMON),
    "bentoml": ("bentoml==1.4.40", *COMMON),
    "mlflow": ("mlflow==3.17.2", *COMMON),
    "openmv": ("openmv-ota[server,server-postgres]==1.0.7",),
}
"""What is installed for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """How the contenders are asked."""

    concurrency: int
    seconds: float
    warm_up_s: float


class Contender(Protocol):
    """Asked in turns."""

    name: str

    def turn(self, turn: Turn) -> Result: ...

    def peak_mb(self) -> float: ...

    def stop(self) -> None: ...


class Bare:
    """The loop without a service; ``run_only``: only the network's run."""

    def __init__(self, network: Path, tasks: Sequence[Task], folder: Path, *, run_only: bool = False) -> None:
        self.name = "session.run" if run_only else "bare loop"
        lines = [json.dumps({"jpeg": task.jpeg.hex(), "x": task.x, "y": task.y}).encode() for task in tasks]
        write_requests(folder / "bare.jsonl", [Request(line) for line in lines])
        command = [sys.executable, "-m", "tests.bench.peers.bare", str(network), str(folder / "bare.jsonl")]
        command += ["run"] if run_only else []
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def turn(self, turn: Turn) -> Result:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        wanted = {"concurrency": turn.concurrency, "seconds": turn.seconds, "warm_up_s": turn.warm_up_s}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        taken = sorted(json.loads(self._process.stdout.readline()))
        p50, p99 = (1000 * quantile(taken, share) for share in (0.5, 0.99))
        return Result(rate=len(taken) / turn.seconds, p50_ms=p50, p99_ms=p99, requests=len(taken))

    def peak_mb(self) -> float:
        return peak_mb(self._process.pid)

    def stop(self) -> None:
        self._process.communicate()


@dataclass(slots=True, kw_only=True)
class Server:
    """A process that listens on ``port``, whose answers hold the mask at ``mask_of(document)``."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    requests: list[Request]
    folder: Path
    mask_of: Callable[[Any], str] = lambda document: document["png"]
    owner: bool = True
    """False: another contender stops the process."""
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        write_requests(self._file, self.requests)

    @property
    def _file(self) -> Path:
        return self.folder / f"{self.name.replace(' ', '-').replace(':', '')}.jsonl"

    def turn(self, turn: Turn) -> Result:
        load = Load(port=self.port, concurrency=turn.concurrency, seconds=turn.seconds, warm_up_s=turn.warm_up_s)
        result = run_apart(self._file, load)
        self.failures += result.failures
        return result

    def mask(self, number: int) -> bytes:
        """The PNG that comes back for a request."""
        status, body = exchange(self.port, self.requests[number].payload)
        if status != 200:
            raise RuntimeError(f"{self.name} answers {status}: {body[:500]!r}")
        return base64.b64decode(self.mask_of(json.loads(body)))

    def peak_mb(self) -> float:
        return peak_mb(self.process.pid)

    def stop(self) -> None:
        if self.owner:
            stop_group(self.process)


def plain_fastapi(network: Path, tasks: list[Task], folder: Path) -> Server:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.bench.peers.plain_fastapi:app", "--port", str(port)]
    quiet = ["--workers", str(THREADS), "--log-level", "warning", "--no-access-log"]
    process = start([*command, *quiet], folder / "fastapi.log", {"NETWORK": str(network)})
    requests = requests_of(tasks, lambda task: as_form("/segment", task.jpeg, {"x": str(task.x), "y": str(task.y)}))
    return _ready(Server(name=f"FastAPI, {THREADS} workers", process=process, port=port, requests=requests, folder=folder))


def litserve(network: Path, tasks: list[Task], folder: Path) -> Server:
    port = free_port()
    command = [_python("litserve"), "-m", "tests.bench.peers.lit", str(port)]
    process = start(command, folder / "litserve.log", {"NETWORK": str(network), "LIT_DISABLE_TELEMETRY": "1"})
    requests = requests_of(tasks, lambda task: as_json("/predict", _in_base64(task)))
    return _ready(Server(name="LitServe", process=process, port=port, requests=requests, folder=folder))


def bentoml(network: Path, tasks: list[Task], folder: Path) -> Server:
    port = free_port()
    command = [_python("bentoml"), "-m", "bentoml", "serve", "tests.bench.peers.bento:Segment", "--port", str(port)]
    own = {"NETWORK": str(network), "BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder / "bentoml")}
    process = start([*command, "--host", "127.0.0.1"], folder / "bentoml.log", own)
    requests = requests_of(tasks, lambda task: as_form("/segment", task.jpeg, {"x": str(task.x), "y": str(task.y)}))
    return _ready(Server(name="BentoML", process=process, port=port, requests=requests, folder=folder))


def mlflow(network: Path, tasks: list[Task], folder: Path) -> Server:
    port, model = free_port(), folder / "mlflow-model"
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/peer.db"}
    save = [_python("mlflow"), "-m", "tests.bench.peers.mlflow_model", str(network), str(model)]
    subprocess.run(save, check=True, capture_output=True, cwd=ROOT, env=_environment(save[0], environment))
    command = [_python("mlflow"), "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    address = ["-h", "127.0.0.1", "-p", str(port), "--workers", str(THREADS)]
    process = start([*command, *address], folder / "mlflow.log", environment)
    requests = requests_of(tasks, lambda task: as_json("/invocations", {"dataframe_records": [_in_base64(task)]}))
    mask_of = lambda document: document["predictions"][0]["png"]  # noqa: E731
    return _ready(Server(name="MLflow", process=process, port=port, requests=requests, folder=folder, mask_of=mask_of))


def install(peer: str) -> bool:
    """Into a virtual environment of its own, once. False, with a message, if the registry has it not."""
    home, wanted = PEERS_HOME / peer, PEERS[peer]
    stamp = home / "installed.txt"
    if stamp.is_file() and stamp.read_text() == "\n".join(wanted):
        return True
    print(f"installing {wanted[0]} into {home.relative_to(ROOT)} ...", flush=True)
    pip = [_python(peer), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", str(home)], [*pip, *wanted]):
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            print(f"{peer} is left out, it cannot be installed: {done.stderr.strip()[-500:]}", flush=True)
            return False
    stamp.write_text("\n".join(wanted))
    return True


def _in_base64(task: Task) -> dict[str, Any]:
    return {"image": base64.b64encode(task.jpeg).decode(), "x": task.x, "y": task.y}


def _python(peer: str) -> str:
    return str(PEERS_HOME / peer / "bin" / "python")


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a group of its own, so that ``stop_group`` reaches its workers."""
    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            env=_environment(command[0], environment),
            start_new_session=True,
        )


def _environment(python: str, additions: Mapping[str, str]) -> dict[str, str]:
    # A virtual environment's programs are found, as where it is active: MLflow starts uvicorn by its name.
    path = f"{Path(python).parent}:{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **additions}


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, then make all of its group end."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ready(server: Server) -> Server:
    """Waits for the first answer."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and server.process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException, RuntimeError):
            server.mask(0)
            return server
        time.sleep(0.2)
    server.stop()
    raise RuntimeError(f"{server.name} did not start; its log ends:\n{_log_of(server)}")


def _log_of(server: Server) -> str:
    newest = max(server.folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return newest.read_text(errors="replace")[-3000:]


def exchange(port: int, payload: bytes, timeout_s: float = 60) -> tuple[int, bytes]:
    """Status and body of one request given as bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(payload)
        answer = http.client.HTTPResponse(connection, method="POST")
        answer.begin()
        return answer.status, answer.read()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def peak_mb(pid: int) -> float:
    """Most resident memory of a process and of each of its children, added up."""
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return sum(_peak_kb(each.pid) for each in tree) / 1024


def _peak_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
