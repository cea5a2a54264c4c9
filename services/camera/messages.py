"""What servers say, read as leniently as can be: any that speaks DDI is served, hawkBit of any age first of all.

Stricter than this are the messages of shared.contracts.ddi: those are what our own server promises.
"""

import re
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, ConfigDict, Field

from shared.contracts.base import Lenient
from shared.contracts.ddi import (
    PACKAGE_DETAIL,
    RESTORE_METADATA,
    STATE_DETAIL,
    STATEMENT_METADATA,
    Execution,
    Finished,
)

_SLEEP: Final = re.compile(r"(\d{1,3}):(\d\d):(\d\d)")


def _text(given: Any) -> Any:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


Id = Annotated[str, BeforeValidator(_text), Field(min_length=1, max_length=64)]
"""hawkBit has sent both numbers and texts."""


class _Message(Lenient):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class Link(_Message):
    """HAL."""

    href: str = Field(max_length=4096)


class Links(_Message):
    """What there is to do."""

    deployment_base: Link | None = Field(default=None, alias="deploymentBase")
    cancel_action: Link | None = Field(default=None, alias="cancelAction")
    config_data: Link | None = Field(default=None, alias="configData")

    @property
    def is_quiet(self) -> bool:
        """Nothing."""
        return self.deployment_base is None and self.cancel_action is None and self.config_data is None


class _Polling(_Message):
    sleep: str = ""


class _PollConfig(_Message):
    polling: _Polling = _Polling()


class Poll(_Message):
    """`GET /{tenant}/controller/v1/{controllerId}`."""

    config: _PollConfig = _PollConfig()
    links: Links = Field(default=Links(), alias="_links")

    @property
    def sleep_s(self) -> float | None:
        """Until the next poll; None where the server gives no time that could be meant."""
        found = _SLEEP.fullmatch(self.config.polling.sleep)
        hours, minutes, seconds = (int(part) for part in found.groups()) if found else (0, 0, 0)
        return float(hours * 3600 + minutes * 60 + seconds) or None


class Hashes(_Message):
    """Of a file, as hex; old servers have no sha256."""

    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")


class _FileLinks(_Message):
    download: Link | None = None
    download_http: Link | None = Field(default=None, alias="download-http")


class Artifact(_Message):
    """A file of a chunk."""

    filename: str = Field(max_length=512)
    hashes: Hashes = Hashes()
    size: int = Field(ge=0, le=1 << 40)
    links: _FileLinks = Field(default=_FileLinks(), alias="_links")

    @property
    def url(self) -> str | None:
        """With TLS where there is a choice."""
        link = self.links.download or self.links.download_http
        return link.href if link else None


class Metadata(_Message):
    """Of a chunk."""

    key: str
    value: str


class Chunk(_Message):
    """Files that belong together."""

    part: str = ""
    version: str = ""
    name: str = ""
    artifacts: list[Artifact] = Field(default=[], max_length=1000)
    metadata: list[Metadata] = Field(default=[], max_length=1000)

    def says(self, key: str) -> str | None:
        """The metadata of that key."""
        return next((each.value for each in self.metadata if each.key == key), None)

    @property
    def claims(self) -> str | None:
        """line/release that our own server says is inside; None where a stranger uses names of its own."""
        return f"{self.name}/{self.version}" if self.name and self.part == self.name and self.version.isdecimal() else None


class _Deployment(_Message):
    download: str = "attempt"
    update: str = "attempt"
    maintenance_window: str | None = Field(default=None, alias="maintenanceWindow")
    chunks: list[Chunk] = Field(default=[], max_length=1000)


class DeploymentBase(_Message):
    """`GET .../deploymentBase/{actionId}`."""

    id: Id
    deployment: _Deployment

    @property
    def may_install(self) -> bool:
        """False: it is to be downloaded at most, for now."""
        told = self.deployment
        return "skip" not in {told.download, told.update} and told.maintenance_window != "unavailable"

    @property
    def removes(self) -> bool:
        """Nothing is to be installed, and what runs is to go."""
        return any(chunk.says(RESTORE_METADATA) == "none" for chunk in self.deployment.chunks)

    @property
    def package(self) -> tuple[Chunk, Artifact] | None:
        """The first file that may be a package."""
        files = ((chunk, file) for chunk in self.deployment.chunks for file in chunk.artifacts)
        return next(((chunk, file) for chunk, file in files if file.filename.endswith((".tar", ".tar.gz", ".tgz"))), None)

    @property
    def key(self) -> str:
        """What this is about, whichever server says it."""
        found = self.package
        file = "none" if found is None else found[1].hashes.sha256 or f"{found[1].filename} {found[1].size}"
        return f"{self.id} {file.lower()}"

    @property
    def statement(self) -> str | None:
        """The signed statement of a return, as JSON."""
        return next((said for chunk in self.deployment.chunks if (said := chunk.says(STATEMENT_METADATA))), None)


class _StopAction(_Message):
    stop_id: Id = Field(alias="stopId")


class CancelAction(_Message):
    """`GET .../cancelAction/{actionId}`."""

    id: Id | None = None
    cancel_action: _StopAction = Field(alias="cancelAction")


def feedback(
    action: str,
    execution: Execution,
    finished: Finished = Finished.NONE,
    *,
    state: str | None = None,
    package: str | None = None,
    details: list[str] | None = None,
) -> dict[str, Any]:
    """What the camera says of an action. ``state`` and ``package`` are ours; other servers take them for text."""
    lines = [line.replace("\n", " ")[:500] for line in details or []]
    lines += [f"{STATE_DETAIL}{state}"] if state else []
    lines += [f"{PACKAGE_DETAIL}{package}"] if package else []
    return {
        "id": action,
        "status": {"execution": execution.value, "result": {"finished": finished.value}, "details": lines},
    }
