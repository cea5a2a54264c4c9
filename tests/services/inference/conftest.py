"""The inference service for tests: the real app behind a real server, a real jobs service beside it, real networks."""

import base64
import functools
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from services.inference.app import create_app
from services.inference.engine.desk import Desk
from services.inference.engine.loaded import LoadedVersion, load
from services.inference.engine.served import Part, Served
from services.inference.migrate import upgrade
from services.inference.runtime import Services
from services.inference.settings import InferenceSettings
from services.jobs.app import create_app as create_jobs_app
from services.jobs.keys.service import create_key
from services.jobs.migrate import upgrade as upgrade_jobs
from services.jobs.settings import JobsSettings
from shared.contracts.base import digest_of_file
from shared.contracts.deployments import CpuTarget, Engine
from shared.contracts.keys import KeyIn, Scope
from shared.contracts.serving import Golden, ServedConfig, ServingCard
from shared.contracts.windows import WindowPolicy

Headers = dict[str, str]


@pytest.fixture(scope="session")
def migrated_jobs(databases: Any) -> str:
    url: str = databases.create()
    upgrade_jobs(url)
    return url


@pytest.fixture(scope="session")
def migrated_inference(databases: Any) -> str:
    url: str = databases.create()
    upgrade(url)
    return url


@pytest.fixture
def database_url(databases: Any, migrated_inference: str) -> Iterator[str]:
    """URL of an inference database of the test's own with all tables."""
    url: str = databases.lend(migrated_inference)
    yield url
    databases.take_back(url, migrated_inference)


@pytest.fixture
def mlflow_url() -> str:
    """Nobody is there; a test that needs the registry overrides this with ``mlflow_server``."""
    return "http://127.0.0.1:9"


@pytest.fixture
def jobs_changes() -> dict[str, Any]:
    """Settings of the jobs service that a test wants otherwise."""
    return {}


@pytest.fixture
def jobs(
    databases: Any,
    migrated_jobs: str,
    redis_url: str,
    mlflow_url: str,
    jobs_changes: dict[str, Any],
    tmp_path: Path,
    serve: Callable[[FastAPI], Any],
) -> Any:
    """The jobs service behind a real server: it knows the keys and passes the registry on."""
    settings = JobsSettings(
        database_url=databases.lend(migrated_jobs),
        redis_url=redis_url,
        mlflow_url=mlflow_url,
        blob_url=str(tmp_path / "blobs"),
        run_loops=False,
        **jobs_changes,
    )
    return serve(create_jobs_app(settings))


@pytest.fixture
def key_for(jobs: Any) -> Callable[[Scope], Headers]:
    """Makes a key and gives its request headers."""

    def make(scope: Scope) -> Headers:
        with jobs.app.state.sessions.begin() as session:
            made = create_key(session, KeyIn(name=f"a-{scope}", scope=scope))
        return {"Authorization": f"Bearer {made.secret}"}

    return make


@pytest.fixture
def viewer(key_for: Callable[[Scope], Headers]) -> Headers:
    return key_for(Scope.VIEWER)


@pytest.fixture
def operator(key_for: Callable[[Scope], Headers]) -> Headers:
    return key_for(Scope.OPERATOR)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, jobs: Any, operator: Headers) -> InferenceSettings:
    """Settings of the app; loops do not run: tests call their ticks. Override this fixture to change some."""
    return InferenceSettings(
        database_url=database_url,
        jobs_url=jobs.url,
        api_key=operator["Authorization"].removeprefix("Bearer "),
        cache_dir=tmp_path / "models",
        feedback_url=str(tmp_path / "feedback"),
        grpc_port=None,
        processors=2,
        run_loops=False,
    )


@pytest.fixture
def served(settings: InferenceSettings, serve: Callable[[FastAPI], Any]) -> Any:
    """The app of these settings behind a real server; has ``app`` and ``url``."""
    return serve(create_app(settings))


@pytest.fixture
def app(served: Any) -> FastAPI:
    """The running app."""
    found: FastAPI = served.app
    return found


@pytest.fixture
def services(app: FastAPI) -> Services:
    """The running app's clients."""
    found: Services = app.state.services
    return found


@pytest.fixture
def client(served: Any) -> Iterator[httpx.Client]:
    """Talks to the running app over HTTP; without a key."""
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client


def png_of(pixels: Any, mode: str) -> str:
    """A golden picture: base64 of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes model folders as jobs leave them: ``networks(seed=1, window=WindowPolicy(prompt="box"))``; each is made once.

    The network is a whole PicoSAM2 with random weights, whose masks differ by seed.
    """
    made: dict[str, Path] = {}

    def make(seed: int = 0, window: WindowPolicy | None = None) -> Path:
        policy = window or WindowPolicy()
        name = f"{seed}-{policy.model_dump_json()}"
        if name not in made:
            made[name] = tmp_path_factory.mktemp("network")
            _write_network(made[name], seed, policy)
        return made[name]

    return make


def _write_network(folder: Path, seed: int, policy: WindowPolicy) -> None:
    from shared.picosam.evaluation.networks import OnnxNetwork
    from shared.picosam.export import export_onnx
    from shared.picosam.model import build_model

    export_onnx(build_model("picosam2", seed), folder / "model.onnx")
    (folder / "config.json").write_text(ServedConfig(window=policy).model_dump_json())
    windows = np.random.default_rng(seed).integers(0, 256, (2, 96, 96, 3), np.uint8)
    masks = OnnxNetwork(folder / "model.onnx", threads=1).logits(windows) > 0
    golden = [
        Golden(window=png_of(window, "RGB"), mask=png_of(mask.astype(np.uint8) * 255, "1"))
        for window, mask in zip(windows, masks, strict=True)
    ]
    card = ServingCard(network_digest=digest_of_file(folder / "model.onnx"), golden=golden)
    (folder / "serving.json").write_text(card.model_dump_json())


@pytest.fixture(scope="session")
def versions(networks: Callable[..., Path]) -> Callable[..., LoadedVersion]:
    """Loads networks as ``networks`` makes them, each once; the model of a seed is net/SEED+1."""

    @functools.cache
    def loaded(seed: int = 0, window: WindowPolicy | None = None) -> LoadedVersion:
        folder = networks(seed, window)
        return load(folder, f"net/{seed + 1}", Engine.ONNXRUNTIME, digest=None, threads=1, processors=2)

    return loaded


@pytest.fixture
def deployed(services: Services, versions: Callable[..., LoadedVersion]) -> Callable[..., Served]:
    """Puts a deployment into the running app by hand: ``deployed("default", seed=1, max_queue=0)``; its model is net/SEED+1."""

    def put(name: str = "default", *, seed: int = 0, window: WindowPolicy | None = None, **spec: Any) -> Served:
        loaded = versions(seed, window)
        model = loaded.model
        target = CpuTarget.model_validate({"versions": [{"model": model}]} | spec)
        desk = Desk(name, parallel=target.parallel or services.processors, max_queue=target.max_queue)
        served = Served(name=name, generation=1, spec=target, parts=(Part(loaded, 100),), desk=desk)
        services.table.put(served)
        return served

    return put
