"""The protocol's model repository: what is deployed can be asked, and what else the registry has can be loaded."""

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog
from starlette.concurrency import run_in_threadpool

from services.inference.deployments import service
from services.inference.deployments.converge import CONVERGE
from services.inference.deployments.settling import read, settled
from services.inference.engine.served import DeploymentNotFound, DeploymentNotReady
from services.inference.oip import versions
from services.inference.registry.errors import ModelsAway, ModelUnknown
from services.inference.runtime import Services
from shared.contracts.base import NAME_PATTERN
from shared.contracts.deployments import CpuTarget, FleetTarget, ReplicaState, Traffic
from shared.kit.problems import BadRequest, Conflict

log = structlog.get_logger(__name__)

CHAMPION: Final = "champion"
"""The alias of the version that is loaded where none is named."""

_LOAD_S: Final = 60.0


class NotLoaded(Conflict):
    """The version that was to be loaded cannot be served."""

    title = "Model cannot be loaded"


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
    except ModelsAway as exc:
        log.warning("oip.registry_away", error=str(exc))
        return []
    return [
        Entry(name=model.name, version=str(model.latest_version), state="UNAVAILABLE", reason="not deployed")
        for model in models
        if model.name not in served and model.latest_version is not None
    ]


async def load(services: Services, name: str, *, version: str | None, by: str) -> None:
    """Deploy a registered model under its name, and wait until it serves; ``version``: its number.

    With none, a deployment that is there keeps what it asks for, its aliases looked up anew, and a new one gets the champion,
    else the newest version. With one, this version alone answers from now on, and the deployment's other settings stay.
    NotLoaded, DeploymentNotReady, ModelUnknown, InvalidRequest, ModelsAway, BadRequest.
    """
    if not re.fullmatch(NAME_PATTERN, name) or (version is not None and not re.fullmatch("[1-9][0-9]{0,8}", version)):
        raise BadRequest("A model is loaded by its name, in lower case, and a version by its number.")
    spec = await run_in_threadpool(_spec, services, name, version)
    await run_in_threadpool(service.put, services, name, spec, by=by, if_match=None)
    services.wake(CONVERGE)
    shown = await settled(services, name, _LOAD_S)
    if failed := [replica.error for replica in shown.replicas if replica.state is ReplicaState.FAILED]:
        raise NotLoaded(f"{name} cannot be served: {failed[0]}")
    if not shown.ready:
        raise DeploymentNotReady(f"The deployment {name!r} is still being loaded after {_LOAD_S:.0f} s.", deployment=name)


async def unload(services: Services, name: str) -> None:
    """Delete a deployment. What is being answered is answered. DeploymentNotFound."""
    await run_in_threadpool(_delete, services, name)
    services.wake(CONVERGE)


def _spec(services: Services, name: str, version: str | None) -> CpuTarget:
    with suppress(DeploymentNotFound):
        spec = read(services, name).spec
        if isinstance(spec, FleetTarget):
            raise NotLoaded(f"{name} is a deployment on {spec.target}: cameras run it, and no request is answered.")
        return spec if version is None else spec.model_copy(update={"versions": [Traffic(model=f"{name}/{version}")]})
    reference = f"{name}/{version}" if version is not None else _chosen(services, name)
    return CpuTarget(versions=[Traffic(model=reference)])


def _chosen(services: Services, name: str) -> str:
    model = services.store.registered_model(name)
    if CHAMPION in model.aliases:
        return f"{name}@{CHAMPION}"
    if model.latest_version is None:
        raise ModelUnknown(f"The model {name!r} has no version.")
    return f"{name}/{model.latest_version}"


def _delete(services: Services, name: str) -> None:
    with services.sessions.begin() as session:
        service.delete_on_cpus(session, name)
