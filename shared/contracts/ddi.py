"""Eclipse hawkBit's direct device integration, version 1, as devices and the fleet service speak it.

https://eclipse.dev/hawkbit/apis/ddi_api/ is its description. Devices' messages are read leniently: stock clients send old and
new forms of them.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from shared.contracts.base import Lenient
from shared.contracts.rollouts import ActionState

STATE_DETAIL: Final = "picofleet.state="
"""A line of a feedback's details: which state the camera is in, finer than DDI can say."""

PACKAGE_DETAIL: Final = "picofleet.package="
"""A line of a feedback's details: what the camera runs after a failure, as picosam2/3; `none` for nothing."""

RESTORE_METADATA: Final = "picofleet.restore"
"""Key of a chunk's metadata; its value `none` means: remove the package, and install no other."""

STATEMENT_METADATA: Final = "picofleet.statement"
"""Key of a chunk's metadata: the signed statement, as JSON, that lets a camera return to an older release."""

NO_PACKAGE_PART: Final = "picofleet"
"""The part of the one chunk of a return to nothing."""

TOLD_STATES: Final = (ActionState.VERIFYING, ActionState.INSTALLING, ActionState.SELF_TESTING)
"""States that a device may name in its details."""

MAX_LINES: Final = 50
"""Lines of a feedback's details that are kept."""

MAX_LINE: Final = 512
"""Characters of a line that are kept."""


class Execution(StrEnum):
    """What a device says of an action."""

    PROCEEDING = "proceeding"
    DOWNLOAD = "download"
    DOWNLOADED = "downloaded"
    SCHEDULED = "scheduled"
    RESUMED = "resumed"
    CANCELED = "canceled"
    REJECTED = "rejected"
    CLOSED = "closed"


class Finished(StrEnum):
    """How it ended; while it goes on: none."""

    SUCCESS = "success"
    FAILURE = "failure"
    NONE = "none"


def _lines(given: Any) -> list[str]:
    """Details as they come: a list, one text, or nothing; what is no text is left out."""
    several = given if isinstance(given, list) else [given]
    return [line[:MAX_LINE] for line in several if isinstance(line, str)][:MAX_LINES]


class FeedbackResult(Lenient):
    """Of a feedback's status."""

    finished: Finished
    progress: Any = Field(default=None, description="{cnt, of}; kept as it is")


class FeedbackStatus(Lenient):
    """Of a feedback."""

    execution: Execution
    result: FeedbackResult | None = None
    code: Any = None
    details: Annotated[list[str], BeforeValidator(_lines)] = Field(default=[], description="messages; bounded, not refused")


class Feedback(Lenient):
    """`POST .../deploymentBase/{actionId}/feedback` and `.../cancelAction/{actionId}/feedback`.

    The action is that of the URL; ids and times in the body are not read.
    """

    status: FeedbackStatus


class ConfigMode(StrEnum):
    """What becomes of attributes that are there."""

    MERGE = "merge"
    REPLACE = "replace"
    REMOVE = "remove"


def _as_text(given: Any) -> Any:
    """As hawkBit reads attributes: numbers and booleans are taken for their text."""
    if isinstance(given, bool):
        return str(given).lower()
    return str(given) if isinstance(given, int | float) else given


AttributeKey = Annotated[str, StringConstraints(min_length=1, max_length=128)]
AttributeValue = Annotated[str, StringConstraints(max_length=4096), BeforeValidator(_as_text)]


def _or_merge(given: Any) -> Any:
    return ConfigMode.MERGE if given is None else given


class ConfigData(Lenient):
    """`PUT .../configData`."""

    mode: Annotated[ConfigMode, BeforeValidator(_or_merge)] = ConfigMode.MERGE
    data: dict[AttributeKey, AttributeValue]


class Link(Lenient):
    """HAL."""

    href: str


class Polling(Lenient):
    """Of a poll's config."""

    sleep: str = Field(description="HH:MM:SS until the next poll")


class PollConfig(Lenient):
    """Of a poll."""

    polling: Polling


class _Out(Lenient):
    """Fields whose names are none of Python's."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class PollLinks(_Out):
    """What there is to do; what is missing is not."""

    deployment_base: Link | None = Field(default=None, alias="deploymentBase")
    cancel_action: Link | None = Field(default=None, alias="cancelAction")
    installed_base: Link | None = Field(default=None, alias="installedBase")
    config_data: Link | None = Field(default=None, alias="configData")


class Poll(_Out):
    """`GET /{tenant}/controller/v1/{controllerId}`."""

    config: PollConfig
    links: PollLinks = Field(default=PollLinks(), alias="_links")


class Hashes(Lenient):
    """Of an artifact, as hex."""

    sha1: str
    md5: str
    sha256: str


class ArtifactLinks(_Out):
    """Where the bytes are; the addresses without and with TLS are the same."""

    download: Link
    download_http: Link = Field(alias="download-http")
    md5sum: Link
    md5sum_http: Link = Field(alias="md5sum-http")


class Artifact(_Out):
    """A file of a chunk."""

    filename: str
    hashes: Hashes
    size: int
    links: ArtifactLinks = Field(alias="_links")


class Metadata(Lenient):
    """Of a chunk."""

    key: str
    value: str


class Chunk(_Out):
    """Files that belong together."""

    part: str
    version: str
    name: str
    artifacts: list[Artifact] = Field(default=[])
    metadata: list[Metadata] = Field(default=[])


class Deployment(Lenient):
    """What is to be installed."""

    download: Literal["forced", "attempt"]
    update: Literal["forced", "attempt"]
    chunks: list[Chunk]


class DeviceHistory(Lenient):
    """What was said of an action so far, newest first. ``status`` in hawkBit's words."""

    status: str
    messages: list[str]


class DeploymentBase(_Out):
    """`GET .../deploymentBase/{actionId}` and `.../installedBase/{actionId}`."""

    id: str
    deployment: Deployment
    action_history: DeviceHistory | None = Field(default=None, alias="actionHistory")


class StopAction(_Out):
    """Of a cancellation."""

    stop_id: str = Field(alias="stopId")


class CancelAction(_Out):
    """`GET .../cancelAction/{actionId}`."""

    id: str
    cancel_action: StopAction = Field(alias="cancelAction")


class AutoConfirm(Lenient):
    """Nothing waits for a confirmation on the device, so there is none to be given of itself."""

    active: bool = False


class ConfirmationBase(_Out):
    """`GET .../confirmationBase`."""

    auto_confirm: AutoConfirm = Field(default=AutoConfirm(), alias="autoConfirm")
