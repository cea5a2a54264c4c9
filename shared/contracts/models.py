"""The model registry as users see it. MLflow holds it; lineage lives in the jobs database."""

from pydantic import Field

from shared.contracts.base import Lenient, Strict, Timestamp


class AliasIn(Strict):
    """`PUT /v1/models/{name}/aliases/{alias}`: promotes a version."""

    version: int = Field(ge=1)


class VersionOut(Lenient):
    """One version of a registered model."""

    name: str
    version: int
    created_at: Timestamp
    description: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)
    run_id: str | None = None
    job_id: str | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    parents: list[str] = Field(default_factory=list, description="lineage edges towards the data: dataset ids, name/version")
    artifacts: list[str] = Field(default_factory=list, description="file names; filled in when one version is asked for")


class ModelOut(Lenient):
    """A registered model."""

    name: str
    description: str = ""
    created_at: Timestamp
    updated_at: Timestamp
    latest_version: int | None = None
    aliases: dict[str, int] = Field(default_factory=dict)
