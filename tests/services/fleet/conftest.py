"""The fleet service for tests: the real app behind a real server, and a real jobs service beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from services.fleet.app import create_app
from services.fleet.migrate import upgrade
from services.fleet.runtime import Services
from services.fleet.settings import FleetSettings
from services.jobs.app import create_app as create_jobs_app
from services.jobs.keys.service import create_key
from services.jobs.migrate import upgrade as upgrade_jobs
from services.jobs.settings import JobsSettings
from shared.contracts.keys import KeyIn, Scope

Headers = dict[str, str]


@pytest.fixture(scope="session")
def migrated_jobs(databases: Any) -> str:
    url: str = databases.create()
    upgrade_jobs(url)
    return url


@pytest.fixture(scope="session")
def migrated_fleet(databases: Any) -> str:
    url: str = databases.create()
    upgrade(url)
    return url


@pytest.fixture
def database_url(databases: Any, migrated_fleet: str) -> Iterator[str]:
    """URL of a fleet database of the test's own with all tables."""
    url: str = databases.lend(migrated_fleet)
    yield url
    databases.take_back(url, migrated_fleet)


@pytest.fixture
def jobs(databases: Any, migrated_jobs: str, redis_url: str, tmp_path: Path, serve: Callable[[FastAPI], Any]) -> Any:
    """The jobs service behind a real server: it knows the keys, the packages, and signs returns."""
    settings = JobsSettings(
        database_url=databases.lend(migrated_jobs),
        redis_url=redis_url,
        mlflow_url="http://127.0.0.1:9",
        blob_url=str(tmp_path / "blobs"),
        package_key=str(tmp_path / "keys" / "packages.pem"),
        run_loops=False,
    )
    return serve(create_jobs_app(settings))


@pytest.fixture
def key_for(jobs: Any) -> Callable[..., Headers]:
    """Makes a key and gives its request headers."""

    def make(scope: Scope, name: str | None = None) -> Headers:
        with jobs.app.state.sessions.begin() as session:
            made = create_key(session, KeyIn(name=name or f"a-{scope}", scope=scope))
        return {"Authorization": f"Bearer {made.secret}"}

    return make


@pytest.fixture
def viewer(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.VIEWER)


@pytest.fixture
def operator(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.OPERATOR)


@pytest.fixture
def admin(key_for: Callable[..., Headers]) -> Headers:
    return key_for(Scope.ADMIN)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, jobs: Any, operator: Headers) -> FleetSettings:
    """Settings of the app; loops do not run: tests call their ticks. Override this fixture to change some."""
    return FleetSettings(
        database_url=database_url,
        jobs_url=jobs.url,
        api_key=operator["Authorization"].removeprefix("Bearer "),
        blob_url=str(tmp_path / "fleet-blobs"),
        run_loops=False,
    )


@pytest.fixture
def served(settings: FleetSettings, serve: Callable[[FastAPI], Any]) -> Any:
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
def session(services: Services) -> Iterator[Session]:
    """A session on the running app's database. On SQLite its first statement takes the write lock: commit soon."""
    with services.sessions() as session:
        yield session


@pytest.fixture
def client(served: Any) -> Iterator[httpx.Client]:
    """Talks to the running app over HTTP; without a key."""
    with httpx.Client(base_url=served.url, timeout=30) as client:
        yield client
