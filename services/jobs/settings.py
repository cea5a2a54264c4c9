"""What the jobs service is told by its environment. Nothing else reads the environment."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PositiveFloat, PositiveInt, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from shared.kit.settings import ServiceSettings


class JobsSettings(ServiceSettings):
    """``PICOFLEET_JOBS_*``. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="PICOFLEET_JOBS_")

    redis_url: str = "redis://127.0.0.1:6379/0"
    mlflow_url: str = "http://127.0.0.1:5000"
    mlflow_public_url: str | None = Field(default=None, description="MLflow as a browser sees it; None: mlflow_url")
    blob_url: str = Field(description="folder, file:// or s3:// URL")
    dataset_roots: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="folders below which datasets may be registered in place; JSON list or comma-separated",
    )
    admin_key_file: Path | None = Field(default=None, description="made with mode 600 at the first start; None: no such key")
    worker_key_file: Path | None = Field(default=None, description="the same with the scope worker")
    service_key_file: Path | None = Field(
        default=None,
        description="the same with the scope viewer, for services that read the registry",
    )
    fleet_key_file: Path | None = Field(
        default=None, description="the same with the scope operator, for the fleet service and for who moves rollouts there"
    )
    package_key: str | None = Field(
        default=None,
        description="signs packages: a file, made with mode 600 at the first start, or a PKCS#11 URI; None: none are made",
    )
    package_public_keys_file: Path | None = Field(
        default=None, description="list of the public keys that are trusted; None: beside the key file"
    )
    port: int = Field(default=8001, ge=0, le=65535)

    lease_s: PositiveFloat = 30
    sweep_s: PositiveFloat = 5
    worker_alive_s: PositiveFloat = Field(default=30, description="a worker heard of within this time is alive: 3 hellos")
    event_retention_days: PositiveFloat = Field(default=30, description="progress events of finished jobs are kept this long")
    sse_ping_s: PositiveFloat = 15

    max_body_bytes: PositiveInt = 1 << 20
    max_worker_body_bytes: PositiveInt = Field(default=16 << 20, description="a report may carry 1,000 log lines of 8 KiB")
    max_blob_bytes: PositiveInt = Field(default=64 << 30, description="an uploaded dataset: COCO train2017 has 18 GiB")

    @field_validator("dataset_roots", mode="before")
    @classmethod
    def _list(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return (
            json.loads(value) if value.lstrip().startswith("[") else [part.strip() for part in value.split(",") if part.strip()]
        )
