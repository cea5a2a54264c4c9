"""Cameras, their groups, and what lets them in."""

from datetime import time
from enum import StrEnum
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from shared.contracts.base import Lenient, Name, Strict, Timestamp

TENANT: Final = "default"
"""The one tenant there is. The segment in device URLs is reserved for more."""


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("has characters that cannot be seen, or blanks at an end")
    if text in {".", ".."}:
        raise ValueError("means another place in a URL")
    return text


ControllerId = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
"""What a device calls itself: any text that can be seen, slashes and emoji included; percent-encoded in URLs."""

LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]

Selector = Annotated[str, StringConstraints(max_length=1024)]
"""Labels that a camera must have, as Kubernetes writes them: `site=berlin,model in (a, b),env!=test,gpu,!old`. Empty: all."""


class CameraFormat(StrEnum):
    """What a camera installs."""

    PACKAGE = "package"
    """The signed package itself, for our agent."""
    SWU = "swu"
    """An image for swupdate, made from the package."""


class CameraIn(Strict):
    """`POST /v1/fleet/cameras`."""

    controller_id: ControllerId
    labels: Labels = Field(default={})
    format: CameraFormat = CameraFormat.PACKAGE
    token: str | None = Field(
        default=None,
        min_length=16,
        max_length=256,
        pattern=r"^[!-~]+$",
        description="the device's TargetToken where it has one already; null: one is made",
    )


class CameraChange(Strict):
    """`PATCH /v1/fleet/cameras/{id}`: what is null stays."""

    labels: Labels | None = Field(default=None, description="replaces all of them")
    format: CameraFormat | None = None


class ReplaceIn(Strict):
    """`POST /v1/fleet/cameras/{id}/replace`: another device takes its place, its labels and its part in rollouts."""

    successor: str = Field(min_length=1, max_length=64, description="id of a camera that is registered already")


class HealthState(StrEnum):
    """Of a camera, by its newest telemetry."""

    UNKNOWN = "unknown"
    OK = "ok"
    BAD = "bad"


class GoldenCheck(StrEnum):
    """Whether the network answers the package's golden frames as it should, on this camera."""

    PASSED = "passed"
    FAILED = "failed"
    UNVERIFIED = "unverified"
    """The device offers no way to feed frames in."""


class Telemetry(Lenient):
    """`POST /{tenant}/controller/v1/{controllerId}/telemetry`: a span of time; counts are of it alone."""

    at: Timestamp | None = Field(default=None, description="by the camera's clock, which may be wrong: kept, never relied on")
    package: str | None = Field(default=None, max_length=160, description="that it runs, as picosam2/3")
    span_s: float = Field(default=60, gt=0, le=86_400)
    frames: int = Field(default=0, ge=0, le=10_000_000)
    missing_frames: int = Field(default=0, ge=0, le=10_000_000, description="that should have come and did not")
    dnn_ms: float | None = Field(default=None, ge=0, le=60_000, description="of one run, mean")
    dsp_ms: float | None = Field(default=None, ge=0, le=60_000)
    sensor_celsius: float | None = Field(default=None, ge=-60, le=200)
    restarts: int = Field(default=0, ge=0, le=100_000, description="of the agent")
    golden: GoldenCheck = GoldenCheck.UNVERIFIED
    mask_area: float | None = Field(default=None, ge=0, le=1, description="mean share of the window")
    agent: str | None = Field(default=None, max_length=64, description="its version")


class SampleIn(Lenient):
    """`POST /{tenant}/controller/v1/{controllerId}/samples`: a window and the mask that the camera made of it."""

    package: str = Field(max_length=160)
    window: str = Field(max_length=200_000, description="PNG, RGB, as the network was given it; base64")
    mask: str = Field(max_length=50_000, description="PNG of one bit per cell, same size; base64")
    confidence: float | None = Field(default=None, ge=0, le=1)
    at: Timestamp | None = None


class CameraOut(Lenient):
    """A camera as the platform knows it."""

    id: str
    controller_id: str
    format: CameraFormat
    labels: dict[str, str]
    attributes: dict[str, str] = Field(default_factory=dict, description="what the device told of itself (configData)")
    registered_at: Timestamp
    registered_by: str
    last_seen: Timestamp | None = None
    current_package: str | None = Field(default=None, description="as picosam2/3; null: none, or unknown")
    last_good_package: str | None = Field(default=None, description="that it is returned to")
    action: int | None = Field(default=None, description="that it is at now")
    rollout: str | None = None
    health: HealthState = HealthState.UNKNOWN
    health_reason: str = ""
    telemetry: Telemetry | None = None
    replaced_by: str | None = None
    deleted_at: Timestamp | None = None


class CameraCreated(CameraOut):
    """The only time that the token is shown."""

    token: str = Field(description="for `Authorization: TargetToken ...`")


class Weekday(StrEnum):
    """Days of a maintenance window."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class MaintenanceWindow(Strict):
    """A span of every week in which cameras may be changed. It may run over midnight."""

    days: list[Weekday] = Field(default=list(Weekday), min_length=1, max_length=7, description="on which it begins")
    start: time = Field(description="in the group's time zone, as 02:00")
    minutes: int = Field(ge=1, le=24 * 60)

    @model_validator(mode="after")
    def _wall_time(self) -> Self:
        if self.start.tzinfo is not None:
            raise ValueError("start is a time of the day in the group's time zone, without an offset")
        return self


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError) as exc:
        raise ValueError(f"{name!r} is no time zone of the IANA database, as Europe/Berlin") from exc
    return name


TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_zone)]


class GroupIn(Strict):
    """`PUT /v1/fleet/groups/{name}`."""

    selector: Selector = ""
    description: str = Field(default="", max_length=500)
    time_zone: TimeZone = "UTC"
    maintenance: list[MaintenanceWindow] = Field(default=[], max_length=16, description="empty: at any time")


class GroupOut(Lenient):
    """A group and how many cameras it has now."""

    name: Name
    selector: str
    description: str
    time_zone: str
    maintenance: list[MaintenanceWindow]
    cameras: int
    created_at: Timestamp
    updated_at: Timestamp


class ProvisioningTokenIn(Strict):
    """`POST /v1/fleet/provisioning-tokens`: lets devices register themselves, with `Authorization: GatewayToken ...`."""

    name: Name
    labels: Labels = Field(default={}, description="of cameras that register with it")
    format: CameraFormat = CameraFormat.PACKAGE
    expires_at: Timestamp | None = None
    max_cameras: int = Field(default=1000, ge=1, le=1_000_000)


class ProvisioningTokenOut(Lenient):
    """Never shows its secret."""

    id: str
    name: str
    labels: dict[str, str]
    format: CameraFormat
    expires_at: Timestamp | None
    max_cameras: int
    cameras: int = Field(description="that registered with it")
    created_at: Timestamp
    created_by: str
    revoked_at: Timestamp | None = None


class ProvisioningTokenCreated(ProvisioningTokenOut):
    """The only time that the secret is shown."""

    token: str


class EnrolIn(Strict):
    """`POST /v1/fleet/enrol`, with a provisioning token: a device that wants a token of its own."""

    controller_id: ControllerId


class EnrolOut(Lenient):
    """What it polls with from now on. Asking again makes a new one, and the one before counts no more."""

    controller_id: str
    token: str
