"""A package: what a camera installs, who vouches for it, and what may send a camera back. See docs/package-format.md."""

import math
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, model_validator

from shared.contracts.base import Digest, Lenient, Name, Timestamp
from shared.contracts.windows import Border

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "model.sig"
"""OpenSSF model-signing's own name for it."""
CONVERTED: Final = "packerOut.zip"
RPK: Final = "network.rpk"
MEMORY_REPORT: Final = "memory_report.json"
INTRINSICS: Final = "network_intrinsics.json"
REFERENCE_MODEL: Final = "reference.onnx"
GOLDEN: Final = "golden/golden.json"
MODEL_CARD: Final = "model_card.md"
ML_BOM: Final = "ml-bom.json"

ALWAYS_THERE: Final = frozenset({CONVERTED, MEMORY_REPORT, INTRINSICS, REFERENCE_MODEL, GOLDEN, MODEL_CARD, ML_BOM})
"""Beside them: the golden frames' bytes, as golden.json names them, the card's pictures, and maybe network.rpk."""

MAX_FILES: Final = 64
MAX_FILE_BYTES: Final = 32 * 1024**2
MAX_PACKAGE_BYTES: Final = 64 * 1024**2
"""The chip holds 8 MB; a package of PicoSAM2 has 7, of which the reference model is 5."""


class Document(Lenient):
    """A file that one release writes and another reads.

    Made in Python an unknown field is a mistake, and is refused; read from JSON it is a newer writer's, and is ignored.
    """

    @model_validator(mode="before")
    @classmethod
    def _known_when_written(cls, value: Any, info: ValidationInfo) -> Any:
        if info.mode == "python" and isinstance(value, dict):
            unknown = sorted(set(value) - set(cls.model_fields))
            if unknown:
                raise ValueError(f"{cls.__name__} has no field {', '.join(map(str, unknown))}")
        return value


PackagePath = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}(/[A-Za-z0-9][A-Za-z0-9._-]{0,63}){0,3}$")
]
"""A file's place in the package, with slashes. Letters that every file system and every tar can hold."""

ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Version = Annotated[str, StringConstraints(pattern=r"^\d{1,6}(\.\d{1,6}){2}$")]
Release = Annotated[int, Field(ge=1, le=2**31 - 1)]
Bytes = Annotated[int, Field(ge=0, le=2**48)]
KeyId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
"""The first 16 hexadecimal digits of SHA-256 over the public key in DER (SubjectPublicKeyInfo)."""


class PackageFile(Document):
    """A file of the package."""

    path: PackagePath
    digest: Digest
    size_bytes: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]


class PackagedModel(Document):
    """The registered version that was converted, as picosam2.imx500, 3."""

    name: ModelName
    version: Annotated[int, Field(ge=1)]


class RpkState(StrEnum):
    """Whether the sensor's own file is there."""

    INCLUDED = "included"
    PENDING = "pending"
    """`imx500-package` runs on aarch64 only: the camera makes network.rpk of packerOut.zip."""


class PackageLineage(Document):
    """Where the package came from."""

    job: str = Field(min_length=1, max_length=64, description="the packaging job")
    git_commit: str = Field(
        pattern=r"^([0-9a-f]{7,64}(\+changes)?|unknown)$",
        description="of the platform that packaged it; +changes where its files differed from that",
    )
    parent: str = Field(min_length=1, max_length=160, description="the quantized version, as picosam2.imx500/3")
    datasets: list[Digest] = Field(default=[], max_length=64, description="that the model was trained and calibrated on")


class ConverterRecord(Document):
    """What made packerOut.zip."""

    name: str = Field(min_length=1, max_length=64, examples=["imx500-converter"])
    version: str = Field(min_length=1, max_length=64)
    digest: Digest = Field(description="over the installed toolchain")
    stamps: list[str] = Field(
        default=[], max_length=64, description="what differs from one conversion of the same model to the next"
    )


class MemoryFigures(Document):
    """What the network takes of the sensor's memory, from the converter's report."""

    runtime_bytes: Bytes
    model_bytes: Bytes
    reserved_bytes: Bytes
    used_bytes: Bytes
    available_bytes: Annotated[int, Field(ge=1, le=2**48)]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.used_bytes > self.available_bytes:
            raise ValueError(f"the network needs {self.used_bytes:,} bytes, the chip has {self.available_bytes:,}")
        return self

    @property
    def utilization(self) -> float:
        """Share of the chip's memory, 0 to 1."""
        return self.used_bytes / self.available_bytes


class GoldenTolerance(Document):
    """How far the sensor's answers to the golden frames may be from the reference model's.

    A right input reaches 90 %; BGR order at most 54 %, 1.8 times the contrast 33 %, a shift by a pixel 52 %.
    """

    max_lsb: int = Field(default=2, ge=0, le=64)
    min_share: float = Field(default=0.9, gt=0, le=1, description="of all codes")


class PackageFacts(Document):
    """What is to be said of a package beside its files."""

    format_version: Literal[1] = 1
    model: PackagedModel
    line: Name = Field(description="what its releases are counted under: the float model's name, as picosam2")
    release: Release = Field(description="counts up in each line; a camera takes no lower one without a release statement")
    minimum_agent: Version = Field(description="the oldest camera agent that can install it")
    memory: MemoryFigures
    golden_tolerance: GoldenTolerance = GoldenTolerance()
    converter: ConverterRecord
    lineage: PackageLineage


class PackageManifest(PackageFacts):
    """manifest.json. Lists every file but itself and the signature, sorted by path."""

    rpk: RpkState
    files: Annotated[list[PackageFile], Field(min_length=1, max_length=MAX_FILES)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        paths = [file.path for file in self.files]
        if paths != sorted(paths):
            raise ValueError("files is not sorted by path")
        if len({path.lower() for path in paths}) < len(paths):
            raise ValueError("files names one path twice, or two that differ in case only")
        if own := {MANIFEST, SIGNATURE}.intersection(paths):
            raise ValueError(f"files lists {min(own)}, which cannot hold its own digest")
        if missing := ALWAYS_THERE.difference(paths):
            raise ValueError(f"files lacks {', '.join(sorted(missing))}")
        if (RPK in paths) != (self.rpk is RpkState.INCLUDED):
            raise ValueError(f"rpk is {self.rpk.value}, but {RPK} is {'there' if RPK in paths else 'not there'}")
        if sum(file.size_bytes for file in self.files) > MAX_PACKAGE_BYTES:
            raise ValueError(f"the files have more than {MAX_PACKAGE_BYTES:,} bytes")
        return self

    def installable_by(self, agent: str) -> bool:
        """True if an agent of this version is new enough, as 0.10.0 is for 0.9.1."""
        return _numbers(agent) >= _numbers(self.minimum_agent)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


class InputFormat(Document):
    """What the network expects of the sensor: ``pixel`` times ``scale``, nothing else."""

    width: Annotated[int, Field(ge=8, le=2048)] = 96
    height: Annotated[int, Field(ge=8, le=2048)] = 96
    color_order: Literal["RGB", "BGR"] = "RGB"
    scale: Annotated[float, Field(gt=0)] = 1 / 256


class RoiPolicy(Document):
    """How a prompt becomes the sensor's region of interest."""

    prompt: Literal["point", "box"] = "point"
    side_share: float = Field(default=0.15, gt=0, le=1, description="point prompts: side as a share of the sensor's width")
    box_margin: float = Field(default=0.1, ge=0, le=1, description="box prompts: added per side, as a share of the longer one")
    border: Border = Border.SHRINK


class AspectRatio(Document):
    """Of the region of interest."""

    width: Annotated[int, Field(ge=1)] = 1
    height: Annotated[int, Field(ge=1)] = 1


class Classes(Document):
    """What the answers stand for."""

    labels: list[str] = Field(default=["object"], min_length=1, max_length=1024)


class NetworkIntrinsics(Document):
    """network_intrinsics.json: as picamera2 (its NetworkIntrinsics) reads it, and under ``picofleet`` what our agent needs."""

    class Picofleet(Document):
        """For the agent alone; picamera2 passes it by."""

        input: InputFormat = InputFormat()
        roi: RoiPolicy = RoiPolicy()

    task: Literal["segmentation"] = "segmentation"
    inference_rate: Annotated[float, Field(gt=0, le=1000)] = 30.0
    input_aspect_ratio: AspectRatio = AspectRatio()
    classes: Classes = Classes()
    picofleet: Picofleet = Picofleet()


class RawArray(Document):
    """Bytes of an array beside golden.json: one per element, row by row, no header."""

    path: PackagePath
    dtype: Literal["uint8", "int8"]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=2, max_length=4)]

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        return math.prod(self.shape)


class GoldenFrames(Document):
    """golden/golden.json: inputs, and what the reference model answers to them."""

    format_version: Literal[1] = 1
    input: RawArray = Field(description="uint8 [frames, height, width, 3], RGB")
    output: RawArray = Field(description="codes [frames, ...]")
    output_scale: Annotated[float, Field(gt=0)] = Field(description="an answer is (code - zero point) times this")
    output_zero_point: Annotated[int, Field(ge=-128, le=255)] = 0

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if self.input.dtype != "uint8" or len(self.input.shape) != 4 or self.input.shape[3] != 3:
            raise ValueError(f"input is {self.input.dtype} {self.input.shape}, not uint8 [frames, height, width, 3]")
        if self.input.shape[0] != self.output.shape[0]:
            raise ValueError(f"{self.input.shape[0]} frames, but {self.output.shape[0]} answers")
        if max(self.input.size_bytes, self.output.size_bytes) > MAX_FILE_BYTES:
            raise ValueError(f"an array has more than {MAX_FILE_BYTES:,} bytes")
        return self


class ReleaseStatement(Document):
    """Sends cameras of a line back from one release to an older one. Counts with its signature only."""

    format_version: Literal[1] = 1
    line: Name
    from_release: Release = Field(description="the newest one that is to be left; cameras that saw a newer one stay")
    to_release: Release
    reason: str = Field(min_length=1, max_length=500)
    issued_at: Timestamp

    @model_validator(mode="after")
    def _goes_back(self) -> Self:
        if self.to_release >= self.from_release:
            raise ValueError(f"release {self.to_release} is not older than {self.from_release}")
        return self


class TrustedKey(Document):
    """A public key whose signatures count from ``not_before`` until ``retired_at``."""

    id: KeyId
    public_key: str = Field(min_length=1, max_length=1024, description="PEM, ECDSA P-256")
    not_before: Timestamp | None = None
    retired_at: Timestamp | None = None
    comment: str = Field(default="", max_length=200)


class TrustedKeys(Document):
    """The key list of a camera or a service. Rotation: add the new key, sign with it, retire the old one."""

    format_version: Literal[1] = 1
    keys: Annotated[list[TrustedKey], Field(min_length=1, max_length=32)]

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("keys names one id twice")
        return self
