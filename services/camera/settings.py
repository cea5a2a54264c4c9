"""What the agent is told by its environment. Nothing else reads the environment."""

from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Self

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.camera.errors import SettingsWrong
from shared.contracts.cameras import TENANT, ControllerId
from shared.kit.settings import KitSettings


class DriverKind(StrEnum):
    """What makes the masks."""

    IMX500 = "imx500"
    SIMULATED = "simulated"


class SamplePolicy(StrEnum):
    """What the platform is given of what the camera sees."""

    STATISTICS = "statistics"
    """How large the masks are, with telemetry: never pixels, and so no samples."""
    WINDOWS = "windows"
    """Now and then also a window, its mask and the confidence in it."""


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


LEAST_TOKEN: Final = 16
"""Characters of the page's token."""


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

    samples: SamplePolicy = Field(default=SamplePolicy.STATISTICS, description="what the platform is given of what it sees")
    samples_per_hour: float = Field(default=12, gt=0, le=60, description="that are taken; the server takes 60 at most")
    samples_kept: PositiveInt = Field(default=200, le=1000, description="on the disk, while the server is away")

    page_port: int | None = Field(default=None, ge=0, le=65535, description="of the local page; none: there is no page")
    page_host: str = Field(default="127.0.0.1", description="IP address at which the page listens")
    page_token: SecretStr | None = Field(default=None, description="that the page asks for, 16 characters or more")
    page_token_file: Path | None = Field(default=None, description="the same in a file; read anew at every use")
    page_frames_per_s: float = Field(default=5, gt=0, le=30, description="that are shown, at most")

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

    @model_validator(mode="after")
    def _page(self) -> Self:
        try:
            ip_address(self.page_host)
        except ValueError as exc:
            raise ValueError("page_host is no IP address, as 127.0.0.1 or ::1") from exc
        tokens = [each for each in (self.page_token, self.page_token_file) if each is not None]
        if self.page_port is not None and len(tokens) != 1:
            raise ValueError("the page needs page_token or page_token_file")
        if self.page_token is not None and len(self.page_token.get_secret_value()) < LEAST_TOKEN:
            raise ValueError(f"page_token has less than {LEAST_TOKEN} characters")
        return self

    def authorization(self) -> str:
        """The header's value. SettingsWrong if the token cannot be read."""
        if self.gateway_token is not None:
            return f"GatewayToken {self.gateway_token.get_secret_value()}"
        if self.token is not None:
            return f"TargetToken {self.token.get_secret_value()}"
        assert self.token_file is not None, "checked when the settings were made"
        return f"TargetToken {_token_in(self.token_file)}"

    def page_secret(self) -> str:
        """The page's token. SettingsWrong if it cannot be read, or is too short."""
        if self.page_token is not None:
            return self.page_token.get_secret_value()
        assert self.page_token_file is not None, "checked when the settings were made"
        token = _token_in(self.page_token_file)
        if len(token) < LEAST_TOKEN:
            raise SettingsWrong(f"the token in {self.page_token_file} has less than {LEAST_TOKEN} characters")
        return token


def _token_in(file: Path) -> str:
    try:
        token = file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsWrong(f"{file} holds no token: {exc}") from exc
    if not token or not token.isprintable():
        raise SettingsWrong(f"{file} holds no token")
    return token
