"""What the inference service is told by its environment. Nothing else reads the environment."""

import socket
from pathlib import Path

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.kit.settings import ServiceSettings


class InferenceSettings(ServiceSettings):
    """``PICOFLEET_INFERENCE_*``. Times in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="PICOFLEET_INFERENCE_")

    port: int = Field(default=8002, ge=0, le=65535)
    grpc_port: int | None = Field(default=8003, ge=0, le=65535, description="of the Open Inference Protocol; null: no gRPC")
    jobs_url: str = "http://127.0.0.1:8001"
    api_key: SecretStr | None = Field(default=None, description="for the jobs service: scope viewer or more")
    api_key_file: Path | None = Field(default=None, description="the same in a file; read anew at every use")
    fleet_url: str = Field(default="http://127.0.0.1:8004", description="the fleet service, for deployments on fleet:GROUP")
    fleet_key: SecretStr | None = Field(default=None, description="for the fleet service: scope operator")
    fleet_key_file: Path | None = Field(default=None, description="the same in a file; read anew at every use")
    cache_dir: Path = Field(description="verified models: with them the service starts and serves while the registry is away")
    cache_limit_bytes: PositiveInt = 2 * 1024**3
    feedback_url: str = Field(description="images of corrections: folder, file:// or s3:// URL, the same for all replicas")
    replica: str = Field(default_factory=socket.gethostname, description="this process's name among the replicas")

    processors: PositiveInt | None = Field(default=None, description="null: what the cgroup's quota and affinity allow")
    converge_s: PositiveFloat = Field(default=2, description="how often changes by other replicas are looked for")
    follow_s: PositiveFloat = Field(default=10, description="how often followed aliases are looked up")
    replica_alive_s: PositiveFloat = Field(default=15, description="a replica heard of within this time is alive")

    max_image_bytes: PositiveInt = Field(default=32 << 20, description="of one image file")
    max_image_pixels: PositiveInt = Field(default=50_000_000, description="of one image; checked before it is decoded")
    max_oip_bytes: PositiveInt = Field(default=64 << 20, description="of one Open Inference Protocol request: 500 windows")
    otlp_endpoint: str | None = Field(default=None, description="where traces go, as http://collector:4318; null: nowhere")
