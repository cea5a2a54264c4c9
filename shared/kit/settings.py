"""The base of every process's settings: read from the environment once, frozen afterwards."""

from pydantic_settings import BaseSettings, SettingsConfigDict


class KitSettings(BaseSettings):
    """Frozen; values never show up in validation errors, since some of them are secrets.

    A subclass sets its own ``env_prefix``.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)
