"""What the camera knows across power cuts: one small file, always whole, always what is true."""

from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from services.camera.disk import Disk
from services.camera.errors import StateUnreadable
from shared.contracts.base import Lenient
from shared.contracts.cameras import GoldenCheck

FILE: Final = "state.json"
MOST_REPORTS: Final = 200
"""That wait for the server. Of more, the oldest that ended nothing go first."""


SlotName = Literal["a", "b"]


class _Kept(Lenient):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Slot(_Kept):
    """A package that lies whole and verified in one of the two slots."""

    name: SlotName
    package: str = Field(description="as picosam2/3")
    line: str
    release: int
    digest: str = Field(description="of manifest.json, which names all other bytes")
    file_sha256: str | None = Field(default=None, description="of the tar that it came in, as the server announced it")
    rpk_sha256: str | None = Field(default=None, description="of network.rpk where it was made here")


class Step(StrEnum):
    """How far an action is."""

    FETCHING = "fetching"
    """Downloading, verifying, unpacking: the sensor knows nothing of it yet."""
    PLACED = "placed"
    """It lies in its slot; the sensor may be about to load it."""
    LOADING = "loading"
    """The sensor may have it, or a part of it."""
    FAILED = "failed"
    """What ran before is to be brought back, and then the failure told."""


class ActionKept(_Kept):
    """The action under way."""

    id: str
    key: str = Field(description="id and file: another server may give the same id to something else")
    step: Step = Step.FETCHING
    trial: Slot | None = Field(default=None, description="what was placed")
    loads: int = Field(default=0, description="how often the sensor was told to load it")
    reason: str = Field(default="", description="of a failure")


class Report(_Kept):
    """Something that the server is still to be told."""

    place: str = Field(description="below the camera's own URL")
    body: dict[str, Any]
    ends: bool = Field(description="the action; such a report is never dropped for want of room")


class Ended(_Kept):
    """How the last action ended, in case the server asks again."""

    id: str
    key: str | None = Field(description="as ActionKept's; None for one that was cancelled")
    report: Report
    package: str | None = Field(default=None, description="that it brought; None if it failed or brought none")


class State(_Kept):
    """All of it."""

    format_version: Literal[1] = 1
    current: Slot | None = Field(default=None, description="what is to run")
    good: Slot | None = Field(default=None, description="what ran before, in the other slot")
    golden: GoldenCheck = Field(default=GoldenCheck.UNVERIFIED, description="of current, when it was loaded last")
    floors: dict[str, int] = Field(default={}, description="by line: the highest release that ever ran here")
    action: ActionKept | None = None
    last: Ended | None = None
    reports: list[Report] = Field(default=[])
    tries: int = Field(default=0, description="how often current was loaded since it last ran")
    starts: int = Field(default=0, description="of the agent since it told of its health")
    note: str = Field(default="", description="why it runs something else than it was told to")

    def with_report(self, report: Report) -> "State":
        """As this, with one more to tell."""
        reports = [*self.reports, report]
        while len(reports) > MOST_REPORTS:
            lesser = next((number for number, each in enumerate(reports) if not each.ends), 0)
            del reports[lesser]
        return self.model_copy(update={"reports": reports})

    def changed(self, **fields: Any) -> "State":
        """As this, but for ``fields``."""
        return self.model_copy(update=fields)


class Store:
    """Reads and writes the file."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk, self._path = disk, folder / FILE

    def load(self) -> State:
        """What was saved last; a new state on a new camera. StateUnreadable."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return State()
        except OSError as exc:
            raise StateUnreadable(f"{self._path} cannot be read: {exc.strerror}") from exc
        try:
            return State.model_validate_json(content)
        except ValidationError as exc:
            raise StateUnreadable(
                f"{self._path} is damaged. Remove it to begin anew; then older releases are taken, too, until a newer one came"
            ) from exc

    def save(self, state: State) -> None:
        """On the disk when this returns. OSError: it may be either."""
        self._disk.replace(self._path, state.model_dump_json(exclude_defaults=True).encode())
