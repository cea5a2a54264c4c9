"""What the service needs: each probe raises where it is away."""

from functools import partial

import httpx
from sqlalchemy import text

from services.jobs.runtime import Services
from shared.kit.database import begin_reading
from shared.kit.health import Probes

NEEDED = frozenset({"database"})
"""Without Redis and MLflow the service buffers and goes on."""


def probes(services: Services) -> Probes:
    """By name."""
    return {
        "database": partial(_database, services),
        "redis": partial(_redis, services),
        "mlflow": partial(_mlflow, services),
    }


def _database(services: Services) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        session.execute(text("SELECT 1 FROM api_keys LIMIT 1"))


def _redis(services: Services) -> None:
    services.redis.ping()


def _mlflow(services: Services) -> None:
    httpx.get(f"{services.settings.mlflow_url}/health", timeout=2).raise_for_status()
