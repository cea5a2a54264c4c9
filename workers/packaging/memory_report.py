"""The converter's memory report: what the network takes on the sensor, and whether that fits."""

from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from workers.packaging.errors import bad_memory_report

_UNITS: Final = {"B": 1, "KB": 1024, "MB": 1024**2}
_LIMIT_BYTES: Final = 16 * 1024**2


def parse_size(text: object) -> int:
    """Bytes of ``204.00KB``; whole numbers, as ``--report-size-unit B`` gives, are exact."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    if isinstance(text, str):
        unit = text.lstrip("0123456789.")
        if unit in _UNITS and (number := text.removesuffix(unit)):
            return round(float(number) * _UNITS[unit])
    raise ValueError(f"{text!r} is no size in B, KB or MB")


def _percent(text: object) -> int:
    if isinstance(text, str) and text.endswith("%"):
        return int(float(text[:-1]))
    raise ValueError(f"{text!r} is no percentage")


Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
Percent = Annotated[int, BeforeValidator(_percent), Field(ge=0)]


class _Report(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class NetworkMemory(_Report):
    """One network's share."""

    name: str = Field(alias="Name")
    runtime_bytes: Size = Field(alias="Runtime Memory Physical Size")
    model_bytes: Size = Field(alias="Model Memory Physical Size")
    input_persistence_bytes: Size | None = Field(default=None, alias="Input Persistence Cost")
    """What it costs that the camera can read the input as well; absent without input persistency."""


class MemoryReport(_Report):
    """``*_MemoryReport.json``, in bytes."""

    name: str = Field(alias="Name")
    runtime_bytes: Size = Field(alias="Runtime Memory Physical Size")
    model_bytes: Size = Field(alias="Model Memory Physical Size")
    reserved_bytes: Size = Field(alias="Reserved Memory")
    used_bytes: Size = Field(alias="Memory Usage")
    available_bytes: Annotated[Size, Field(gt=0)] = Field(alias="Total Memory Available On Chip")
    utilization_percent: Percent = Field(alias="Memory Utilization")
    """As the converter prints it, rounded; ``utilization`` has all digits."""
    fits: bool = Field(alias="Fit In Chip", strict=True)
    input_persistent: bool = Field(alias="Input Persistent", strict=True)
    networks: list[NetworkMemory] = Field(alias="Networks", min_length=1)

    @property
    def utilization(self) -> float:
        """Share of the sensor's memory in use; above 1 it does not fit."""
        return self.used_bytes / self.available_bytes

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        # The gate hangs on one word: believe it only where the figures say the same.
        if self.fits != (self.used_bytes <= self.available_bytes):
            raise ValueError(f"Fit In Chip is {self.fits} with {self.used_bytes} of {self.available_bytes} bytes in use")
        return self


class _File(_Report):
    report: MemoryReport = Field(alias="Memory Report")


def read_memory_report(folder: Path) -> MemoryReport:
    """The report in the converter's output folder; JobFailed (``bad_memory_report``) if not exactly one can be read."""
    found = sorted(folder.glob("*_MemoryReport.json"))
    if len(found) != 1:
        raise bad_memory_report(f"the converter wrote {len(found)} memory reports")
    if found[0].stat().st_size > _LIMIT_BYTES:
        raise bad_memory_report(f"{found[0].name} is larger than {_LIMIT_BYTES} bytes")
    return parse_memory_report(found[0].read_bytes())


def parse_memory_report(text: bytes | str) -> MemoryReport:
    """The report in the converter's JSON; JobFailed (``bad_memory_report``) naming the first field that is wrong."""
    try:
        return _File.model_validate_json(text).report
    except ValidationError as exc:
        wrong = exc.errors(include_url=False, include_input=False)[0]
        raise bad_memory_report(f"{'.'.join(map(str, wrong['loc'])) or 'the file'}: {wrong['msg']}") from exc
