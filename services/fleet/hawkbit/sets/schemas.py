"""What is asked and told of distribution sets."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from services.fleet.hawkbit.messages import Asked, Description, Links, Title, Told, VersionText
from services.fleet.hawkbit.software.domain import SET_TYPES, set_type
from services.fleet.hawkbit.software.schemas import ModuleOut
from shared.contracts.cameras import ControllerId


def _set_type(key: str) -> str:
    if set_type(key) is None:
        raise ValueError(f"there are the types {', '.join(each.key for each in SET_TYPES)}")
    return key


class ModuleRef(Asked):
    """A module by its number."""

    id: int = Field(ge=1, le=2**63 - 1)


class SetIn(Asked):
    """A new set: a package of kind software."""

    name: Title
    version: VersionText
    type: Annotated[str, StringConstraints(max_length=64), AfterValidator(_set_type)]
    description: Description = ""
    modules: list[ModuleRef] = Field(min_length=1, max_length=32)
    required_migration_step: Literal[False] = Field(default=False, description="true is not supported")


class SetOut(Told):
    """A set."""

    id: int
    name: str
    version: str
    type: str
    description: str
    modules: list[ModuleOut]
    complete: bool = True
    deleted: bool
    required_migration_step: bool = False
    created_at: int
    created_by: str
    links: Links = Field(alias="_links")


class AssignmentIn(Asked):
    """A target that is to get the set."""

    id: ControllerId
    type: Literal["forced", "soft", "downloadonly"] = "forced"
    maintenance_window: Any = Field(default=None, description="refused: groups have maintenance windows")


class ActionRef(Told):
    """An action that an assignment made."""

    id: int
    links: Links = Field(alias="_links")


class AssignedOut(Told):
    """What an assignment did."""

    assigned: int
    already_assigned: int
    total: int
    assigned_actions: list[ActionRef]
