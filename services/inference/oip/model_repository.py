"""The protocol's model repository: what is deployed can be asked, and what else the registry has can be loaded."""

from dataclasses import dataclass
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from services.inference.oip import versions
from services.inference.registry.errors import RegistryAway
from services.inference.runtime import Services

log = structlog.get_logger(__name__)

CHAMPION: Final = "champion"
"""The alias of the version that is loaded where none is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of the index."""

    name: str
    version: str
    state: str
    reason: str = ""

    def as_json(self) -> dict[str, str]:
        """As the protocol has it."""
        return {"name": self.name, "version": self.version, "state": self.state, "reason": self.reason}


async def index(services: Services, *, ready_alone: bool) -> list[Entry]:
    """The versions of all deployments and, unless ``ready_alone``, the registered models under whose name none is served.

    While the registry is away, the deployments alone.
    """
    served = sorted(services.table.all(), key=lambda each: each.name)
    ready = [Entry(name=each.name, version=version, state="READY") for each in served for version in versions.names(each)]
    return ready if ready_alone else [*ready, *await run_in_threadpool(_others, services, {each.name for each in served})]


def _others(services: Services, served: set[str]) -> list[Entry]:
    try:
        models = services.store.registered()
    except RegistryAway as exc:
        log.warning("oip.registry_away", error=str(exc))
        return []
    return [
        Entry(name=model.name, version=str(model.latest_version), state="UNAVAILABLE", reason="not deployed")
        for model in models
        if model.name not in served and model.latest_version is not None
    ]


async def load(services: Services, name: str, *, version: str | None, by: str) -> None:
    """x"""


async def unload(services: Services, name: str) -> None:
    """x"""
