"""What is asked and told of software modules and their artifacts."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from services.fleet.hawkbit.messages import Asked, Description, Links, Title, Told, VersionText
from services.fleet.hawkbit.software.domain import MODULE_TYPES, module_type


def _module_type(key: str) -> str:
    if module_type(key) is None:
        raise ValueError(f"there are the types {', '.join(each.key for each in MODULE_TYPES)}")
    return key


TypeKey = Annotated[str, StringConstraints(max_length=64), AfterValidator(_module_type)]


class ModuleIn(Asked):
    """A new module."""

    name: Title
    version: VersionText
    type: TypeKey
    description: Description = ""
    vendor: Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")] = ""


class ModuleOut(Told):
    """A module."""

    id: int
    name: str
    version: str
    type: str
    description: str
    vendor: str
    deleted: bool
    created_at: int
    created_by: str
    links: Links = Field(alias="_links")


class HashesOut(Told):
    """As hex."""

    sha1: str
    md5: str
    sha256: str


class ArtifactOut(Told):
    """A file of a module."""

    id: int
    hashes: HashesOut
    provided_filename: str
    size: int
    created_at: int
    created_by: str
    links: Links = Field(alias="_links")


class TypeOut(Told):
    """A type of modules or of sets."""

    id: int
    key: str
    name: str
    deleted: bool = False
    links: Links = Field(alias="_links")
