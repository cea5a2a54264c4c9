"""The jobs service for tests: the real app behind a real server, on SQLite or Postgres, with a real Redis."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from services.jobs.app import create_app
from services.jobs.keys.service import create_key
from services.jobs.migrate import upgrade
from services.jobs.runtime import Services
from services.jobs.settings import JobsSettings
from shared.contracts.base import digest_of
from shared.contracts.distillation import PUBLISHED_CHECKPOINTS, SamSize
from shared.contracts.keys import KeyIn, Scope

Headers = dict[str, str]


@pytest.fixture(scope="session")
def migrated_database(databases: Any) -> str:
    """URL of a database with all tables, to be copied only."""
    url: str = databases.create()
    upgrade(url)
    return url


@pytest.fixture
def database_url(databases: Any, migrated_database: str) -> Iterator[str]:
    """URL of a database of the test's own with all tables."""
    url: str = databases.lend(migrated_database)
    yield url
    databases.take_back(url, migrated_database)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, redis_url: str) -> JobsSettings:
    """Settings of the app; loops do not run: tests call their ticks. Override this fixture to change some."""
    (tmp_path / "data").mkdir()
    return JobsSettings(
        database_url=database_url,
        redis_url=redis_url,
        mlflow_url="http://127.0.0.1:9",  # the discard port: nobody is there
        blob_url=str(tmp_path / "blobs"),
        dataset_roots=[str(tmp_path / "data")],
        package_key=str(tmp_path / "keys" / "packages.pem"),
        run_loops=False,
        max_blob_bytes=1 << 22,
    )


@pytest.fixture
def served(settings: JobsSettings, serve: Callable[[FastAPI], Any]) -> Any:
    """The app of these settings behind a real server; has ``app`` and ``url``."""
    return serve(create_app(settings))


@pytest.fixture
def app(served: Any) -> FastAPI:
    """The running app."""
    app: FastAPI = served.app
    return app


@pytest.fixture
def client(served: Any) -> Iterator[httpx.Client]:
    """Talks to the running app over HTTP; without a key."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client


@pytest.fixture
def services(app: FastAPI) -> Services:
    """The running app's clients."""
    found: Services = app.state.services
    return found


@pytest.fixture
def session(services: Services) -> Iterator[Session]:
    """A session on the running app's database. On SQLite its first statement takes the write lock: commit soon."""
    with services.sessions() as session:
        yield session


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Small bytes that Meta publishes, in this test, as SAM 2.1 tiny; the platform does not have them yet."""
    content = b"weights of a teacher"
    tiny = PUBLISHED_CHECKPOINTS[SamSize.TINY].model_copy(update={"digest": digest_of(content)})
    monkeypatch.setitem(PUBLISHED_CHECKPOINTS, SamSize.TINY, tiny)
    return content


@pytest.fixture
def key_for(services: Services) -> Callable[..., Headers]:
    """Makes a key and gives its request headers: ``key_for(Scope.VIEWER, name="ada")``."""

    def make(scope: Scope, name: str | None = None) -> Headers:
        with services.sessions.begin() as session:
            made = create_key(session, KeyIn(name=name or f"a-{scope}", scope=scope))
        return {"Authorization": f"Bearer {made.secret}"}

    return make


@pytest.fixture
def admin(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.ADMIN)


@pytest.fixture
def operator(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.OPERATOR)


@pytest.fixture
def viewer(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.VIEWER)


@pytest.fixture
def worker(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.WORKER)
