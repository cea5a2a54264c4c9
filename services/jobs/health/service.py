"""Asks each thing that the service needs whether it is there."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import structlog
from pydantic import BaseModel
from sqlalchemy import text

from services.jobs.runtime import Services
from shared.kit.database import begin_reading

log = structlog.get_logger(__name__)


class Readiness(BaseModel):
    """``status``: ok, degraded (redis or mlflow is away) or failed. ``components``: ok or failed, by name."""

    status: str
    components: dict[str, str]

    @property
    def can_serve(self) -> bool:
        """True if requests can be answered."""
        return self.components["database"] == "ok"


def check(services: Services) -> Readiness:
    """Ask all at once; each answers within about two seconds."""
    probes: dict[str, Callable[[Services], None]] = {"database": _database, "redis": _redis, "mlflow": _mlflow}
    with ThreadPoolExecutor(len(probes)) as pool:
        answers = {name: pool.submit(_ask, name, probe, services) for name, probe in probes.items()}
    components = {name: answer.result() for name, answer in answers.items()}
    return Readiness(status=_sum_up(components), components=components)


def _sum_up(components: dict[str, str]) -> str:
    if components["database"] != "ok":
        return "failed"
    return "ok" if set(components.values()) == {"ok"} else "degraded"


def _ask(name: str, probe: Callable[[Services], None], services: Services) -> str:
    try:
        probe(services)
    except Exception as exc:  # whatever it is, the component is not ready; the log says why
        log.warning("ready.failed", component=name, error=str(exc))
        return "failed"
    return "ok"


def _database(services: Services) -> None:
    with services.sessions.begin() as session:
        begin_reading(session)
        session.execute(text("SELECT 1 FROM api_keys LIMIT 1"))


def _redis(services: Services) -> None:
    services.redis.ping()


def _mlflow(services: Services) -> None:
    httpx.get(f"{services.settings.mlflow_url}/health", timeout=2).raise_for_status()
