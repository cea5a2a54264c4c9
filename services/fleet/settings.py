"""What the fleet service is told by its environment. Nothing else reads the environment."""

from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.kit.settings import ServiceSettings


class FleetSettings(ServiceSettings):
    """``PICOFLEET_FLEET_*``. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="PICOFLEET_FLEET_")

    port: int = Field(default=8004, ge=0, le=65535)
    jobs_url: str = "http://127.0.0.1:8001"
    api_key: SecretStr | None = Field(default=None, description="for the jobs service: scope operator, for signed returns")
    api_key_file: Path | None = Field(default=None, description="the same in a file; read anew at every use")
    blob_url: str = Field(description="packages: folder, file:// or s3:// URL, the same for all replicas")
    public_url: str | None = Field(
        default=None, description="what devices see this service as, as https://fleet.example.com; null: as they asked"
    )

    poll_s: PositiveInt = Field(default=300, description="how often devices that have nothing to do are to ask")
    busy_poll_s: PositiveInt = Field(default=30, description="how often those of a running rollout are to ask")
    tick_s: PositiveFloat = Field(default=1, description="how often rollouts are advanced")
    tick_rows: PositiveInt = Field(default=500, description="actions changed by one transaction")
    epochs_s: PositiveFloat = Field(default=0.5, description="how often changes by other replicas are looked for")
    contacts_s: PositiveFloat = Field(default=2, description="how often it is written who was heard of")
    max_package_bytes: PositiveInt = 256 << 20
    max_attributes_bytes: PositiveInt = Field(default=64 << 10, description="of what one device tells of itself")
    sse_ping_s: PositiveFloat = Field(default=15, description="how often silent event streams show that they live")
    samples_kept_s: PositiveFloat = Field(default=30 * 86_400, description="how long sampled windows and masks are kept")
    events_kept_s: PositiveFloat = Field(default=90 * 86_400, description="how long events are kept that are no one's deed")
