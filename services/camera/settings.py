"""What the agent is told by its environment. Nothing else reads the environment."""

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.camera.errors import SettingsWrong
from shared.contracts.cameras import TENANT, ControllerId
from shared.kit.settings import KitSettings


class DriverKind(StrEnum):
    """What makes the masks."""

    IMX500 = "imx500"
    SIMULATED = "simulated"


class Fault(StrEnum):
    """What a simulated sensor does wrong."""

    NONE = "none"
    STALL = "stall"
    """The upload stops halfway."""
    NAME = "name"
    """Another network answers than was loaded."""
    SHAPE = "shape"
    """The answers have another shape."""
    SLOW = "slow"
    """The network takes too long."""
    MISSING = "missing"
    """Every other frame comes without an answer."""
    SILENT = "silent"
    """No frame comes after the upload."""
    DRIFT = "drift"
    """Answers are off, as if the colours were swapped."""
    CRASH = "crash"
    """The process dies in the upload."""


class CameraSettings(KitSettings):
    """``PICOFLEET_CAMERA_*``. Times in seconds."""

    model_config = SettingsConfigDict(env_prefix="PICOFLEET_CAMERA_")

    url: str = Field(description="fleet service, or any server that speaks hawkBit's DDI", pattern=r"^https?://")
    tenant: str = Field(default=TENANT, min_length=1, max_length=128)
    controller_id: ControllerId
    token: SecretStr | None = Field(default=None, description="TargetToken of this camera")
    token_file: Path | None = Field(default=None, description="the same in a file; read anew at every use")
    gateway_token: SecretStr | None = Field(default=None, description="instead of both: lets the camera register itself")
    folder: Path = Field(
        default=Path("/var/lib/picofleet-camera"), description="packages and state; nobody else may write there"
    )
    keys_file: Path = Field(default=Path("/etc/picofleet/keys.json"), description="whose packages are installed")
    json_logs: bool = True
    log_level: str = "INFO"

    driver: DriverKind = DriverKind.IMX500
    prompt_x: float = Field(default=0.5, ge=0, lt=1, description="where the prompt is, as a share of the sensor's width")
    prompt_y: float = Field(default=0.5, ge=0, lt=1)

    poll_s: PositiveFloat = Field(default=300, description="between polls, where the server does not say")
    telemetry_s: PositiveFloat = 60
    stall_s: PositiveFloat = Field(default=60, description="an upload whose progress does not move for so long has failed")
    load_s: PositiveFloat = Field(default=900, description="an upload that takes so long has failed; a few minutes are usual")
    first_frames_s: PositiveFloat = Field(default=30, description="after the upload, until the first frames have come")
    first_frames: PositiveInt = Field(default=5, le=8, description="that must be answered before a package counts as running")
    silence_s: PositiveFloat = Field(default=20, description="without a frame: the stream has ended")
    max_dnn_ms: PositiveFloat = Field(default=100, description="of one run; PicoSAM2 takes about 15")
    retry_s: PositiveFloat = Field(default=600, description="until a sensor is tried again on which nothing ran")

    images: Path | None = Field(default=None, description="simulated: folder of pictures that it looks at")
    frames_per_s: PositiveFloat = Field(default=10, description="simulated")
    upload_s: float = Field(default=1, ge=0, description="simulated")
    fault: Fault = Field(default=Fault.NONE, description="simulated")
    fault_packages: frozenset[str] = Field(default=frozenset(), description="simulated: with these alone; empty: with all")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(each is not None for each in (self.token, self.token_file, self.gateway_token)) != 1:
            raise ValueError("give one of token, token_file and gateway_token")
        if self.driver is DriverKind.SIMULATED and self.images is None:
            raise ValueError("the simulated driver needs images, a folder of pictures")
        return self

    def authorization(self) -> str:
        """The header's value. SettingsWrong if the token cannot be read."""
        if self.gateway_token is not None:
            return f"GatewayToken {self.gateway_token.get_secret_value()}"
        if self.token is not None:
            return f"TargetToken {self.token.get_secret_value()}"
        assert self.token_file is not None, "checked when the settings were made"
        try:
            token = self.token_file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsWrong(f"{self.token_file} holds no token: {exc}") from exc
        if not token or not token.isprintable():
            raise SettingsWrong(f"{self.token_file} holds no token")
        return f"TargetToken {token}"
