"""The packaging job: which quantized network, how the converter is to treat it, and what a camera is told beside it."""

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from shared.contracts.base import Digest, Lenient, Name, Strict, Timestamp
from shared.contracts.datasets import DatasetSelection
from shared.contracts.packages import KeyId, ModelName, Release, RoiPolicy, RpkState, Version
from shared.contracts.quantization import MODEL_SUFFIX, Platform

PACKAGE_SUFFIX: Final = "package"
"""A package is a version of the model ``picosam2.package``."""

LEAST_AGENT: Final = "0.1.0"
"""The first camera agent that installs packages of this format."""


class GoldenWindows(Strict):
    """Real windows on which a camera tries the installed network, against what the reference model answers."""

    dataset: DatasetSelection = Field(description="held out images, as the quantization's validation split")
    frames: int = Field(default=8, ge=1, le=32)
    max_prompts: int | None = Field(
        default=1000, ge=1, description="drawn from the first N windows: as many as the quantization asked are prepared already"
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="draws candidates; of these the most telling are taken")


class ConverterLimits(Strict):
    """What Sony's converter may use of the worker's machine."""

    seconds: float = Field(default=900, ge=10, le=86_400, description="PicoSAM2 takes about a minute")
    memory_bytes: int = Field(
        default=3 * 1024**3, ge=256 * 1024**2, le=2**40, description="of all its processes; PicoSAM2 needs 1.2 GB"
    )


class PackagingSpec(Strict):
    """A packaging job: converts a network quantized for the IMX500, and makes of it what a camera installs."""

    kind: Literal["packaging"] = "packaging"
    spec_version: Literal[1] = 1
    model: str = Field(min_length=1, max_length=128, description="quantized for the imx500: name/version or name@alias")
    dry_run: bool = Field(default=False, description="only the memory report, in a third of the time: nothing is made")
    golden: GoldenWindows | None = Field(default=None, description="needed unless dry_run")
    input_persistency: bool = Field(
        default=True, description="the camera can read the input beside the answers; costs its size in the sensor's memory"
    )
    input_format: Literal["RGB", "BGR"] = Field(
        default="RGB", description="order of the channels in which the network takes them; all that are trained here: RGB"
    )
    max_memory_utilization: float = Field(
        default=1.0, gt=0, le=1, description="share of the sensor's 8 MB that the network may take, or the job fails"
    )
    labels: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default=["object"], min_length=1, max_length=64, description="what the answers stand for, as picamera2 shows them"
    )
    roi: RoiPolicy | None = Field(
        default=None, description="how a prompt becomes the sensor's region of interest; null: as the network was trained"
    )
    inference_rate: float = Field(default=30, gt=0, le=1000, description="frames per second that the sensor is asked for")
    minimum_agent: Version = Field(default=LEAST_AGENT, description="the oldest camera agent that can install the package")
    notes: str = Field(default="", max_length=4000, description="for the model card: what it is meant for, and what not")
    converter: ConverterLimits = ConverterLimits()
    line: Name = Field(
        default_factory=lambda data: line_of(data),
        description="what releases are counted under; default: the float model's name, as picosam2",
    )
    register_as: Name | None = Field(
        default_factory=lambda data: default_name(data),
        description="default: picosam2.package, after the line; null: register nothing. The package is kept all the same",
    )

    @model_validator(mode="after")
    def _golden_unless_dry(self) -> "PackagingSpec":
        if self.golden is None and not self.dry_run:
            raise ValueError("golden is missing: a camera needs frames to try the network on; only a dry_run goes without")
        if self.dry_run and self.register_as is not None:
            raise ValueError("a dry_run makes nothing that could be registered; leave register_as out")
        return self


def line_of(data: dict[str, object]) -> str:
    """``line`` of a spec that names none: the model's name without what it was quantized for."""
    model = data.get("model")
    if not isinstance(model, str):
        return "unknown"  # a spec whose other fields are wrong is refused for these
    name = model.partition("/")[0].partition("@")[0]
    return name.removesuffix(f".{MODEL_SUFFIX[Platform.IMX500]}")[:63]


def default_name(data: dict[str, object]) -> str | None:
    """``register_as`` of a spec that names none."""
    line = data.get("line")
    if data.get("dry_run") or not isinstance(line, str):
        return None
    return f"{line[: 62 - len(PACKAGE_SUFFIX)]}.{PACKAGE_SUFFIX}"


class ReturnIn(Strict):
    """Body of `POST /v1/packages/{line}/returns`: cameras that saw at most ``from_release`` may go back to ``to_release``."""

    from_release: Release = Field(description="the newest one that is to be left")
    to_release: Release
    reason: str = Field(min_length=1, max_length=500, description="cameras show it")

    @model_validator(mode="after")
    def _goes_back(self) -> "ReturnIn":
        if self.to_release >= self.from_release:
            raise ValueError(f"release {self.to_release} is not older than {self.from_release}")
        return self


class SignedReturnOut(Lenient):
    """A release statement as it was signed: both texts byte by byte."""

    statement: str
    signature: str


class PackageOut(Lenient):
    """A signed package that the platform keeps: `GET /v1/packages/{line}/{release}`."""

    line: Name
    release: Release
    model: ModelName = Field(description="the quantized model that was converted")
    version: int
    job_id: str
    digest: Digest = Field(description="of the package as a tar")
    manifest: Digest = Field(description="of manifest.json: names the package however it is packed")
    size_bytes: int
    rpk: RpkState
    key: KeyId = Field(description="that signed it")
    created_at: Timestamp
    registered_as: str | None = Field(default=None, description="the version in the registry, once it is there")
