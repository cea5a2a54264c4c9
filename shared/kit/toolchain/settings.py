"""Where the toolchain lies, read from the environment here and nowhere else."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.kit.settings import KitSettings


class ToolchainSettings(KitSettings):
    """``PICOFLEET_TOOLCHAIN``, else the folder ``toolchain`` in ``PICOFLEET_HOME``; and ``JAVA_HOME``."""

    model_config = SettingsConfigDict(
        env_prefix="PICOFLEET_", env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    home: Path = Field(default_factory=lambda: Path.home() / ".picofleet")
    toolchain: Path | None = Field(default=None, description="folder that holds one folder per version of the converter")
    java_home: Path | None = Field(default=None, validation_alias="JAVA_HOME", description="tried before the PATH")

    def root(self) -> Path:
        """The folder that holds one folder per version; it need not be there."""
        return (self.toolchain or self.home / "toolchain").expanduser().absolute()
