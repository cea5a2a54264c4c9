"""The base of every process's settings: read from the environment once, frozen afterwards."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class KitSettings(BaseSettings):
    """Frozen; values never show up in validation errors, since some of them are secrets.

    A subclass sets its own ``env_prefix``.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ServiceSettings(KitSettings):
    """What every service that listens is told."""

    database_url: str = Field(description="sqlite:////file or postgresql+psycopg://user:password@host/database")
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    json_logs: bool = True
    log_level: str = "INFO"
    run_loops: bool = Field(default=True, description="periodic work; False in tests that call it by hand")
