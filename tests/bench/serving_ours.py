"""The inference service as the platform runs it, for benchmarks: processes of its own, a jobs service for the keys, and model
versions in the cache, where the service also finds them while the registry is away.
"""

import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from services.inference.registry.store import StoredVersion
from shared.contracts.base import digest_of_file
from shared.contracts.serving import NETWORK_FILE
from shared.kit.cache import Cache
from shared.picosam.prompt import to_input
from tests.bench.load import Request
from tests.bench.serving_peers import Server, exchange, free_port, start, stop_group
from tests.bench.serving_tasks import Task, as_form, requests_of
from tests.bench.serving_tasks import http as post

START_S = 60
NOBODY = "http://127.0.0.1:9"
"""The discard port."""


class Jobs:
    """Knows one key. Its loops do not run, so it needs neither Redis nor MLflow."""

    def __init__(self, folder: Path) -> None:
        self.port, key = free_port(), folder / "admin.key"
        settings = {
            "DATABASE_URL": f"sqlite:///{folder}/jobs.db",
            "BLOB_URL": str(folder / "blobs"),
            "REDIS_URL": "redis://127.0.0.1:9/0",
            "MLFLOW_URL": NOBODY,
            "ADMIN_KEY_FILE": str(key),
            "RUN_LOOPS": "false",
            "PORT": str(self.port),
        }
        environment = {f"PICOFLEET_JOBS_{name}": value for name, value in settings.items()}
        self.process = start([sys.executable, "-m", "services.jobs"], folder / "jobs.log", environment)
        wait_until_answered(self.process, self.port, get("/healthz"), folder / "jobs.log")
        self.key = key.read_text().strip()

    def stop(self) -> None:
        stop_group(self.process)


class Inference:
    """``python -m services.inference`` on a folder of its own."""

    def __init__(self, folder: Path, jobs: Jobs, versions: dict[str, Path]) -> None:
        """``versions``: model folders by name/version."""
        self.folder, self.port, self._key = folder, free_port(), jobs.key
        folder.mkdir()
        cache = Cache(folder / "models")
        for model, made in versions.items():
            with cache.folder(
                f"model-{model.replace('/', '-')}", lambda place, model=model, made=made: _store(model, made, place)
            ):
                pass
        settings = {
            "DATABASE_URL": f"sqlite:///{folder}/inference.db",
            "CACHE_DIR": str(cache.root),
            "FEEDBACK_URL": str(folder / "feedback"),
            "JOBS_URL": f"http://127.0.0.1:{jobs.port}",
            "API_KEY": jobs.key,
            "PORT": str(self.port),
            "GRPC_PORT": "0",
        }
        self._environment = {f"PICOFLEET_INFERENCE_{name}": value for name, value in settings.items()}
        self.start()

    def start(self) -> None:
        """Returns when it answers."""
        self.process = start([sys.executable, "-m", "services.inference"], self._log, self._environment)
        wait_until_answered(self.process, self.port, get("/readyz"), self._log)

    def kill(self) -> None:
        """No goodbye to anyone."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        stop_group(self.process)

    def deploy(self, name: str, *versions: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """PUT, and wait until it is served."""
        body = json.dumps({"versions": list(versions), **spec}).encode()
        path = f"/v1/deployments/{name}?wait_s=60"
        payload = post(path, body, {"Content-Type": "application/json", **self.authorized}).replace(b"POST", b"PUT", 1)
        status, answer = exchange(self.port, payload, timeout_s=90)
        shown: dict[str, Any] = json.loads(answer)
        if status not in (200, 201) or not shown["ready"]:
            raise RuntimeError(f"{name} is not served, {status}: {answer[:2000]!r}")
        return shown

    @property
    def authorized(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}

    def segment(self, task: Task, deployment: str) -> bytes:
        """A request."""
        wanted = json.dumps({"prompts": [{"point": [task.x, task.y]}], "deployment": deployment})
        return as_form("/v1/segment", task.jpeg, {"request": wanted}, **self.authorized)

    def contender(self, name: str, tasks: list[Task], deployment: str = "default") -> Server:
        requests = requests_of(tasks, lambda task: self.segment(task, deployment))
        return self._contender(name, requests, mask_of)

    def open_protocol(self, name: str, tasks: list[Task], deployment: str = "default") -> Server:
        """Windows over the Open Inference Protocol, in binary both ways."""
        requests = [Request(_infer(task, deployment, self.authorized)) for task in tasks]
        return self._contender(name, requests, mask_of)

    def _contender(self, name: str, requests: list[Request], where: Any) -> Server:
        return Server(
            name=name, process=self.process, port=self.port, requests=requests, folder=self.folder, mask_of=where, owner=False
        )

    @property
    def _log(self) -> Path:
        return self.folder / "inference.log"


def mask_of(answer: Any) -> str:
    """The PNG of the only object; an image without one is no fair comparison."""
    mask: str = answer["objects"][0]["mask"]["png"]
    return mask


def _store(model: str, made: Path, place: Path) -> None:
    shutil.copytree(made, place)
    stored = StoredVersion(model=model, digest=digest_of_file(made / NETWORK_FILE), tags={})
    (place / "version.json").write_text(stored.model_dump_json())


def _infer(task: Task, deployment: str, headers: dict[str, str]) -> bytes:
    content = to_input(task.window[None]).tobytes()
    tensor = {"name": "window", "shape": [1, 3, 96, 96], "datatype": "FP32", "parameters": {"binary_data_size": len(content)}}
    output = {"name": "logits", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
    own = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return post(f"/v2/models/{deployment}/infer", head + content, {**own, **headers})


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def wait_until_answered(process: subprocess.Popen[bytes], port: int, payload: bytes, log: Path) -> None:
    """Until it is answered by 200."""
    give_up = time.monotonic() + START_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if exchange(port, payload)[0] == 200:
                return
        time.sleep(0.01)
    stop_group(process)
    raise RuntimeError(f"{process.args!r} did not start:\n{log.read_text()[-3000:]}")
