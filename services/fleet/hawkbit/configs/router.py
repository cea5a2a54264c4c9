"""Routes of hawkBit's tenant settings."""

from typing import Any

from fastapi import APIRouter, status
from pydantic import Field

from services.fleet.hawkbit.auth import VIEWER, OperatorActor
from services.fleet.hawkbit.configs import service
from services.fleet.hawkbit.errors import ConfigNotFound, ConfigNotReadable, HawkbitRoute
from services.fleet.hawkbit.messages import Asked, Told
from services.fleet.runtime import ServicesDep
from shared.kit.database import SessionDep
from shared.kit.problems import problem_responses

router = APIRouter(prefix="/system/configs", route_class=HawkbitRoute)


class ConfigIn(Asked):
    """A setting's new value: true, false or a text, which the setting decides."""

    value: Any


class ConfigOut(Told):
    """A setting."""

    value: bool | str
    is_global: bool = Field(alias="global", description="as it is by default")


def _out(found: tuple[bool | str, bool]) -> ConfigOut:
    return ConfigOut(value=found[0], is_global=found[1])


@router.get("", dependencies=[VIEWER])
def list_all(session: SessionDep, services: ServicesDep) -> dict[str, ConfigOut]:
    """All settings that can be read, by their names."""
    found = service.readable(session, services.settings)
    return {key.value: _out(value) for key, value in found.items()}


@router.get("/{key}", dependencies=[VIEWER], responses=problem_responses(ConfigNotFound, ConfigNotReadable))
def read(key: str, session: SessionDep, services: ServicesDep) -> ConfigOut:
    """One setting. The gateway token is not shown: only a hash of it is kept."""
    return _out(service.value_of(session, services.settings, service.known(key)))


@router.put("/{key}", responses=problem_responses(ConfigNotFound))
def change(key: str, body: ConfigIn, session: SessionDep, actor: OperatorActor) -> ConfigOut:
    """Set it. The gateway token lets devices register themselves, as a provisioning token does."""
    return ConfigOut(value=service.change(session, service.known(key), body.value, actor), is_global=False)


@router.delete("/{key}", status_code=status.HTTP_204_NO_CONTENT, responses=problem_responses(ConfigNotFound))
def reset(key: str, session: SessionDep, actor: OperatorActor) -> None:
    """Back to its default."""
    service.reset(session, service.known(key), actor)
