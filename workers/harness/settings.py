"""Settings of a worker, read from the environment here and nowhere else."""

import os
import socket
from pathlib import Path
from typing import Self

import platformdirs
from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.contracts.jobs import JobKind
from shared.kit.settings import KitSettings

GIB = 1024**3


class WorkerSettings(KitSettings):
    """``PICOFLEET_WORKER_*``. Either ``api_key`` or ``api_key_file`` is needed."""

    model_config = SettingsConfigDict(env_prefix="PICOFLEET_WORKER_", frozen=True, extra="ignore")

    jobs_url: str = "http://127.0.0.1:8001"
    api_key: SecretStr = SecretStr("")
    api_key_file: Path | None = None
    redis_url: str = "redis://127.0.0.1:6379/0"
    mlflow_url: str = "http://127.0.0.1:5000"
    name: str = Field(default_factory=lambda: f"{socket.gethostname()}:worker", description="stable over restarts")
    queues: list[JobKind] = Field(default_factory=lambda: list(JobKind))
    slots: PositiveInt = 1
    cache_dir: Path = Path(platformdirs.user_cache_dir("picofleet"))
    cache_limit_bytes: PositiveInt = 20 * GIB
    hello_s: PositiveFloat = 10
    heartbeat_s: PositiveFloat = 1
    grace_s: PositiveFloat = Field(default=2.5, description="between a cancel and the kill; all of it must fit into 5 s")
    shutdown_grace_s: PositiveFloat = Field(default=8, description="the same when the worker itself is stopped")
    hang_s: PositiveFloat = Field(default=1800, description="a child that reports nothing for so long is killed as hung")
    memory_limit_bytes: PositiveInt | None = Field(default=None, description="address space of a job's process; None: no limit")
    keep_failed_s: PositiveFloat = Field(default=7 * 86_400, description="how long the folders of unfinished jobs are kept")
    spare_child: bool = Field(default=True, description="keep one started, idle child: saves seconds at a job's start")
    claim_patience_s: PositiveFloat = Field(default=60, description="the sweeper sends the job again after that")
    finish_patience_s: PositiveFloat = Field(default=86_400, description="how long a result waits for an absent jobs service")

    @model_validator(mode="after")
    def _some_key(self) -> Self:
        if not self.api_key.get_secret_value() and self.api_key_file is None:
            raise ValueError(
                "set PICOFLEET_WORKER_API_KEY or PICOFLEET_WORKER_API_KEY_FILE: the worker needs a key of scope worker"
            )
        return self

    def key(self) -> str:
        """The API key itself."""
        if self.api_key_file is not None:
            return self.api_key_file.read_text().strip()
        return self.api_key.get_secret_value()

    def jobs_dir(self) -> Path:
        """Where the jobs' own folders lie."""
        return Path(os.path.abspath(self.cache_dir)) / "jobs"  # noqa: PTH100 - keeps symbolic links
